"""The progress bar of training and validation."""

import sys
from collections.abc import Iterable

from tqdm import tqdm

LOG_INTERVAL_S = 30.0  # between two states of a bar in a file or a pipe, which keep all of them


def progress_bar(batches: Iterable, desc: str = "") -> tqdm:
    """Return ``batches`` with a bar on the standard output, drawn often on a terminal and seldom elsewhere."""
    interval = 0.1 if sys.stdout.isatty() else LOG_INTERVAL_S
    return tqdm(
        batches,
        desc=desc,
        bar_format="{l_bar}{bar:10}{r_bar}",
        file=sys.stdout,
        mininterval=interval,
        maxinterval=max(interval, 10.0),
    )
