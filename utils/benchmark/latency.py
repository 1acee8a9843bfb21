"""How long forward passes take."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from utils.device import now

WARMUP, RUNS = 5, 50


@dataclass(frozen=True)
class Latency:
    """Median and 95th percentile of the wall time, in milliseconds."""

    p50_ms: float
    p95_ms: float


@torch.inference_mode()
def measure_latencies(
    models: Sequence[Callable[[Tensor], Any]], images: Tensor, warmup: int = WARMUP, runs: int = RUNS
) -> list[Latency]:
    """Return the latency of each model on ``images`` (B, C, H, W).

    They run in turns, so that whatever else the machine does meets all of them alike.
    """

    def milliseconds(model: Callable[[Tensor], Any]) -> float:
        start = now(images.device)
        model(images)
        return 1e3 * (now(images.device) - start)

    for model in models:
        for _ in range(warmup):
            model(images)
    times = np.array([[milliseconds(model) for model in models] for _ in range(runs)])  # (runs, models)
    return [Latency(*map(float, column)) for column in np.percentile(times, (50, 95), axis=0).T]
