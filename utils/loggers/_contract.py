"""What a logger is, and the table of those that are there.

A file of this folder registers a factory under its name; the factory takes nothing and returns a logger, or None where
the package that it needs is not installed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from utils.registry import Registry

LOGGERS = Registry("logger")


class Logger(Protocol):
    """Receives what a training run has to tell; the methods are called in this order, ``epoch`` and ``image`` often."""

    def start(self, run_dir: Path, rows: Sequence[Mapping[str, float]] = ()) -> None:
        """Open what the logger writes into; ``rows`` are those of the epochs before, where a run goes on."""

    def epoch(self, row: Mapping[str, float]) -> None:
        """Take the figures of one epoch, a row of results.csv by its headings (see ``utils.loggers.row``)."""

    def image(self, name: str, path: Path) -> None:
        """Take a picture that the run has written."""

    def finish(self) -> None:
        """Close everything; called once, also after an error."""
