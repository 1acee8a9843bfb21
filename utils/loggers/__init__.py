"""Where the figures of a training run go: one file per logger, found by being in this folder."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from utils.loggers._contract import LOGGERS, Logger
from utils.registry import import_plugins

import_plugins(sys.modules[__name__])


def build_loggers(run_dir: Path, rows: Sequence[Mapping[str, float]] = ()) -> list[Logger]:
    """Return every logger whose package is installed, started in the run folder behind the ``rows`` of a run."""
    made = [LOGGERS.get(name)() for name in LOGGERS]
    loggers = [logger for logger in made if logger is not None]
    for logger in loggers:
        logger.start(run_dir, rows)
    return loggers
