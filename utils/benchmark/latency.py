"""How long forward passes take."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from utils.device import now

WARMUP, RUNS = 5, 50
ROUND, STEADY = 10, 0.03  # passes between two looks; share by which two medians may differ
LEAST_S, LONGEST_S = 3.0, 20.0


@dataclass(frozen=True)
class Latency:
    """Median and 95th percentile of the wall time, in milliseconds."""

    p50_ms: float
    p95_ms: float


@dataclass(frozen=True)
class SteadyLatency(Latency):
    """A latency that was measured until it was steady, or for as long as that may take."""

    passes: int
    halves_ms: tuple[float, float]  # p50 of the first half of the passes and of the second

    @property
    def is_steady(self) -> bool:
        low, high = sorted(self.halves_ms)
        return high <= (1 + STEADY) * low


@torch.inference_mode()
def measure_latencies(
    models: Sequence[Callable[[Tensor], Any]], images: Tensor, warmup: int = WARMUP, runs: int = RUNS
) -> list[Latency]:
    """Return the latency of each model on ``images`` (B, C, H, W).

    They run in turns, so that whatever else the machine does meets all of them alike.
    """
    for model in models:
        for _ in range(warmup):
            model(images)
    times = np.array([[_milliseconds(model, images) for model in models] for _ in range(runs)])  # (runs, models)
    return [Latency(*map(float, column)) for column in np.percentile(times, (50, 95), axis=0).T]


@torch.inference_mode()
def measure_steady(model: Callable[[Tensor], Any], images: Tensor) -> SteadyLatency:
    """Return the latency of a model on ``images`` (B, C, H, W), for those that cannot run in turns.

    It runs ``RUNS`` times and for ``LEAST_S`` at least, and on until both halves of the passes have the same median,
    within ``STEADY``, or ``LONGEST_S`` have passed.
    """
    for _ in range(WARMUP):
        model(images)
    start, times = now(images.device), []
    while True:
        times += [_milliseconds(model, images) for _ in range(ROUND)]
        halves = tuple(float(np.median(half)) for half in np.array_split(times, 2))
        found = SteadyLatency(*map(float, np.percentile(times, (50, 95))), passes=len(times), halves_ms=halves)
        passed = now(images.device) - start
        if passed > LONGEST_S or (len(times) >= RUNS and passed >= LEAST_S and found.is_steady):
            return found


def _milliseconds(model: Callable[[Tensor], Any], images: Tensor) -> float:
    start = now(images.device)
    model(images)
    return 1e3 * (now(images.device) - start)
