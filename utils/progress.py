"""The progress bar of training and validation; in a file or a pipe, plain lines now and then."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

from utils.dist import rank

log = logging.getLogger(__name__)

LINE_INTERVAL_S = 30.0  # between two lines in a file or a pipe, which keep all of them
REDRAWN_S = 0.1
TAILS = (  # what follows the text, the first that the terminal has room for
    "{percentage:3.0f}%|{bar:10}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]",
    "{percentage:3.0f}% {n_fmt}/{total_fmt}, {remaining} left, {rate_fmt}",
    "{percentage:3.0f}% {n_fmt}/{total_fmt}, {remaining} left",
    "{percentage:3.0f}% {n_fmt}/{total_fmt} <{remaining}",
)
DONE = tuple(tail.replace("{remaining} left", "took {elapsed}") for tail in TAILS)


class Bar(tqdm):
    """A bar in which percent, count and time left always show; text and the rest give way on a narrow terminal."""

    def __str__(self) -> str:
        facts = self.format_dict
        text, room = facts["prefix"], (facts["ncols"] or 80) - 1  # the last column would wrap on some terminals
        facts |= {"prefix": "", "ncols": None}
        tails = [
            self.format_meter(**facts | {"bar_format": tail}) for tail in (DONE if self.n == self.total else TAILS)
        ]
        tail = next((tail for tail in tails if len(text) + 1 + len(tail) <= room), tails[-1])
        text = text[: max(room - len(tail) - 1, 0)]
        return f"{text} {tail}" if text else tail.lstrip()


class Lines:
    """The same for a stream that is not a terminal: a line every half minute, and the last one if it is to stay."""

    def __init__(self, batches: Iterable, text: str, stays: bool, first: int = 0) -> None:
        self.batches, self.text, self.stays, self.first = batches, text, stays, first

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is open."""

    def set_description_str(self, text: str, refresh: bool = False) -> None:
        """Set the text of the next line."""
        self.text = text

    def __iter__(self) -> Iterator:
        start = said = time.monotonic()
        total = len(self.batches)
        for done, batch in enumerate(self.batches, self.first + 1):
            yield batch
            now = time.monotonic()
            if (done == total and self.stays) or now - said >= LINE_INTERVAL_S:
                said = now
                times = _times(now - start, (done - self.first) / (total - self.first))
                log.info("%s %3d%% %d/%d, %s", self.text, 100 * done // total, done, total, times)


def _times(spent: float, share: float) -> str:
    taken, left = tqdm.format_interval(spent), tqdm.format_interval(spent / share - spent)
    return f"took {taken}" if share == 1 else f"{taken}, {left} left"


def progress_bar(batches: Iterable, text: str = "", *, stays: bool = True, first: int = 0) -> Bar | Lines:
    """Return ``batches`` with a bar that tells how many are done, for use in ``with``; it may vanish at the end.

    Of their number, ``first`` have been done before.
    """
    if rank() > 0 or not sys.stdout.isatty():
        return Lines(batches, text, stays, first)
    return Bar(batches, text, file=sys.stdout, dynamic_ncols=True, mininterval=REDRAWN_S, leave=stays, initial=first)
