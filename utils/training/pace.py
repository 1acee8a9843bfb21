"""How long a training will take: said once after its first batches, then before every epoch, as measured so far."""

import logging
import time
from datetime import datetime, timedelta

from utils.text import counted, rough_duration

log = logging.getLogger(__name__)

MEASURED_S, MEASURED_BATCHES = 5.0, 3  # enough for the first estimate
VALIDATION_COST = 0.4  # of an image, as a share of what its training costs; only the first estimate needs it
DAY_S = 24 * 3600


class Pace:
    """Measures the batches and epochs of a run, and tells what they mean for the whole of it."""

    def __init__(self, epochs: int, batches: int, validated: float = 0, first: int = 0, says: bool = True) -> None:
        """An epoch trains ``batches`` and validates images that would fill ``validated`` of them; ``first`` are done.

        ``says`` whether the first estimate is of use.
        """
        self.epochs, self.batches, self.first = epochs, batches, first
        self.epoch_cost = batches + VALIDATION_COST * validated  # in training batches
        self.begun = 0
        self.start = self.since = time.monotonic()
        self.said = not says

    def batch(self) -> None:
        """Note that a batch begins; as soon as enough were measured, say how long the run will take."""
        self.begun += 1
        now = time.monotonic()
        if self.begun == 1:
            self.start = now
        if self.begun <= 2:  # the first batch is slower than those behind it
            self.since = now
        elif not self.said and self.begun <= self.batches:
            self._say(self.begun - 2, now)

    def _say(self, measured: int, now: float) -> None:
        if measured < MEASURED_BATCHES or now - self.since < MEASURED_S:
            return
        self.said = True
        total = (now - self.since) / measured * self.epoch_cost * (self.epochs - self.first)
        end = datetime.now().astimezone() + timedelta(seconds=self.start + total - now)
        day = "%H:%M" if total < DAY_S else "%A %H:%M"
        epochs = counted(self.epochs - self.first, "epoch")
        log.info("%s: about %s, until %s", epochs, rough_duration(total), end.strftime(day))

    def left(self, epoch: int) -> str:
        """Return how long the run goes on, ``about 12 min left``, before an epoch; nothing before the first."""
        if epoch == self.first:
            return ""
        per_epoch = (time.monotonic() - self.start) / (epoch - self.first)
        return f"about {rough_duration(per_epoch * (self.epochs - epoch))} left"
