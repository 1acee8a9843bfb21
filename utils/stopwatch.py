"""How long the phases of inference take."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from utils.device import now


@dataclass(frozen=True)
class Speed:
    """Milliseconds per image."""

    preprocess: float
    inference: float
    nms: float

    @property
    def total(self) -> float:
        return self.preprocess + self.inference + self.nms

    def __add__(self, other: "Speed") -> "Speed":
        return Speed(self.preprocess + other.preprocess, self.inference + other.inference, self.nms + other.nms)

    def __sub__(self, other: "Speed") -> "Speed":
        return Speed(self.preprocess - other.preprocess, self.inference - other.inference, self.nms - other.nms)

    def __truediv__(self, count: int) -> "Speed":
        return Speed(self.preprocess / count, self.inference / count, self.nms / count)

    def __str__(self) -> str:
        return f"{self.preprocess:.1f} ms pre-process, {self.inference:.1f} ms inference, {self.nms:.1f} ms NMS"


class Stopwatch:
    """Adds up the wall time of each phase; a GPU is waited for."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = {"preprocess": 0.0, "inference": 0.0, "nms": 0.0}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time spent inside to the phase ``name``."""
        start = now(self.device)
        yield
        self.seconds[name] += now(self.device) - start

    def speed(self, images: int = 1) -> Speed:
        """Return the mean over ``images``."""
        return Speed(**{name: 1e3 * seconds / max(images, 1) for name, seconds in self.seconds.items()})
