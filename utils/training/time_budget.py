"""A run that lasts a given time: after every epoch its number of epochs becomes what fits, and all that hangs on it."""

import logging
import time
from collections.abc import Mapping
from typing import Any

import torch

from utils.collective import of_first
from utils.errors import StorageError
from utils.text import counted, duration

log = logging.getLogger(__name__)


class TimeBudget:
    """Knows how many epochs fit into a time, by the mean of those that it has seen, with their validations.

    What a run took before it was stopped and resumed counts. ``length`` is the number of epochs in memory that
    processes share, for the workers that make images without mosaics in the last ones; it may change only between two
    epochs. Until an epoch was measured it is a guess.
    """

    def __init__(self, hours: float, epochs: int, first: int = 0) -> None:
        """``first`` is the epoch that is the first to be measured. Raises: StorageError."""
        self.hours, self.first = hours, first
        self.before = 0.0  # seconds, of the run until it was resumed
        self.start = time.monotonic()
        try:
            self.length = torch.tensor(epochs).share_memory_()
        except RuntimeError as error:
            raise StorageError("shared memory (/dev/shm) is full", "free some, or give the container more") from error

    @property
    def epochs(self) -> int:
        return int(self.length)

    @property
    def spent(self) -> float:
        """Seconds since the first epoch that was measured began."""
        return self.before + time.monotonic() - self.start

    def fit(self, done: int) -> None:
        """Choose the number of epochs, once ``done`` are trained."""
        per_epoch = of_first(self.spent) / (done - self.first)
        self.length.fill_(max(done, self.first + int(self.hours * 3600 / per_epoch)))

    def state_dict(self) -> dict[str, float]:
        return {"hours": self.hours, "epochs": self.epochs, "first": self.first, "spent": self.spent}

    def load_state_dict(self, state: Mapping[str, float], done: int) -> None:
        """Take up a ``state_dict`` of a run with ``done`` epochs; other hours make another number of them."""
        self.first, self.before, self.start = int(state["first"]), float(state["spent"]), time.monotonic()
        self.length.fill_(int(state["epochs"]))
        if self.hours != state["hours"] and done > self.first:
            self.fit(done)


def fit_epochs(session: Any) -> None:
    """Give a run with --time the number of epochs that fits, once another is trained, and say it where it changes."""
    s, before = session, session.epochs
    if s.budget is None or s.state.batch < len(s.train_loader):
        return
    done = s.state.epoch + 1
    s.budget.fit(done)
    follow(s)
    if s.epochs != before or done == s.budget.first + 1:
        log.info("--time %g: %s fit, %d done in %s", s.budget.hours, counted(s.epochs, "epoch"), done, _spent(s))


def follow(session: Any) -> None:
    """Let the learning rate and the estimates of a run with --time know its number of epochs."""
    session.schedule.epochs = session.pace.epochs = session.budget.epochs


def _spent(session: Any) -> str:
    return duration(session.budget.spent)
