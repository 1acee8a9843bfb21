"""What a logger is, and the table of those that are there.

A file of this folder registers a factory under its name; the factory takes nothing and returns a logger. The name is
also that of the package that it needs, but for ``csv``, which needs none and is always there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from utils.registry import Registry

LOGGERS = Registry("logger")


@dataclass(frozen=True)
class Run:
    """What a logger is told of the training run that begins, or goes on."""

    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)  # options and hyper-parameters by name
    rows: Sequence[Mapping[str, float]] = ()  # of the epochs before, where it goes on
    goes_on: bool = False  # it is that of --resume, perhaps in its first epoch


class Logger(Protocol):
    """Receives what a training run has to tell; the methods are called in this order, ``start`` and ``finish`` once."""

    def start(self, run: Run) -> None:
        """Open what the logger writes into."""

    def epoch(self, row: Mapping[str, float]) -> None:
        """Take the figures of one epoch, a row of results.csv by its headings (see ``utils.loggers.row``)."""

    def image(self, name: str, path: Path) -> None:
        """Take a picture that the run has written."""

    def file(self, path: Path) -> None:
        """Take another file of the run: its settings, its report, its weights if they are wanted."""

    def finish(self, completed: bool) -> None:
        """Close everything, also where the run was interrupted or failed, and is not ``completed``."""
