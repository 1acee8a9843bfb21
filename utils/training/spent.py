"""Where the time of an epoch went, in one line, with advice where training waits for images."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from utils.text import duration

log = logging.getLogger(__name__)

T = TypeVar("T")

IMAGES, COMPUTE, STEP, VALIDATION, SAVING = (
    *("waiting for images", "forward and backward", "optimizer", "validation", "saving"),
)
STARVED = 0.25  # share of the training of an epoch above which waiting for images is worth advice
LEAST_S = 5.0  # of an epoch for such advice: shorter ones mostly start up


class Spent:
    """Adds up the seconds of the parts of an epoch. A GPU is not waited for: what it still has to do counts as part of
    what waits for it next.
    """

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.total: Counter[str] = Counter()  # of the epochs that were told

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Count the time inside as that of a part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - start

    def waiting(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield batches, and count the time until each is there."""
        iterator = iter(batches)
        while True:
            with self.on(IMAGES):
                batch = next(iterator, None)
            if batch is None:
                return
            yield batch

    def tell(self, workers: int, cores: int) -> None:
        """Log the shares of the epoch, the largest first, and begin anew. ``workers`` of ``cores`` made the images."""
        total = sum(self.seconds.values())
        shares = ", ".join(f"{part} {seconds / total:.0%}" for part, seconds in self.seconds.most_common())
        log.info("%s: %s", duration(total), shares)
        training = total - self.seconds[VALIDATION] - self.seconds[SAVING]
        if total >= LEAST_S and self.seconds[IMAGES] > STARVED * training:
            log.info("%s", advice(workers, cores))
        self.total.update(self.seconds)
        self.seconds.clear()


def advice(workers: int, cores: int) -> str:
    """Return what makes images come sooner."""
    more = f"more --workers than {workers}, or " if workers < cores else ""
    return f"training waits for images: {more}--cache ram, or --cache disk; a smaller --imgsz needs less of both"
