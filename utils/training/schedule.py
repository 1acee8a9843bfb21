"""Learning rate over epochs, warm-up over the first steps, and when to stop."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch.optim import Optimizer

from utils.hyper import hyper

MIN_WARMUP_STEPS = 100


@dataclass(frozen=True)
class ScheduleHyp:
    """What a hyper-parameter file says of the optimizer and its schedule."""

    lr0: float = hyper(0.01, 0, math.inf)
    lrf: float = hyper(0.01, 0, 10)
    momentum: float = hyper(0.937, 0, 0.999)
    weight_decay: float = hyper(0.0005, 0, 1)
    warmup_epochs: float = hyper(3.0, 0, math.inf)
    warmup_momentum: float = hyper(0.8, 0, 0.999)
    warmup_bias_lr: float = hyper(0.1, 0, 1)
    nominal_batch: float = hyper(64, 1, 65536, optional=True)  # to which accumulation and weight decay are scaled


def lr_factor(epoch: int, epochs: int, lrf: float, cosine: bool) -> float:
    """Return the factor of the initial learning rate, from 1 down to ``lrf``."""
    if cosine:
        return (1 - math.cos(math.pi * epoch / epochs)) / 2 * (lrf - 1) + 1
    return (1 - epoch / epochs) * (1 - lrf) + lrf


class Schedule:
    """Sets learning rate and momentum of every parameter group, and says after how many batches to step.

    Groups of biases (entry ``biases``) warm up from a high rate, the others from 0.
    """

    def __init__(
        self, optimizer: Optimizer, hyp: ScheduleHyp, *, epochs: int, steps: int, batch_size: int, cosine: bool
    ):
        """``steps`` are the batches of one epoch; ``hyp.nominal_batch`` images make one optimizer step."""
        self.optimizer = optimizer
        self.hyp = hyp
        self.epochs = epochs
        self.cosine = cosine
        self.batches = epochs * steps
        self.full_ratio = min(hyp.nominal_batch / batch_size, self.batches)  # even a short run makes one step
        self.batches_per_update = max(1, round(self.full_ratio))
        self.warmup_steps = max(round(hyp.warmup_epochs * steps), MIN_WARMUP_STEPS) if hyp.warmup_epochs else 0
        self.scale = 1.0  # of every learning rate
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]

    def set(self, step: int, epoch: int) -> int:
        """Prepare the optimizer for batch number ``step`` of the run; return the batches to accumulate."""
        factor = lr_factor(epoch, self.epochs, self.hyp.lrf, self.cosine)
        warm = self._is_warm_up(step)
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            start = self.hyp.warmup_bias_lr if group["biases"] else 0.0
            group["lr"] = self.scale * (self._ramp(step, start, base * factor) if warm else base * factor)
            if "momentum" in group:
                target = self.hyp.momentum
                group["momentum"] = self._ramp(step, self.hyp.warmup_momentum, target) if warm else target
        return self._accumulate(step)

    def updates(self, limit: int) -> int:
        """Return how often the optimizer steps in the whole run, if all its epochs are trained; at most ``limit``."""
        count, last = 0, -1
        for step in range(self.batches):
            if count == limit:
                break
            if step - last >= self._accumulate(step):
                count, last = count + 1, step
        return count

    def _accumulate(self, step: int) -> int:
        """Return the batches whose gradients are added up before the optimizer steps."""
        if self._is_warm_up(step):
            return max(1, round(self._ramp(step, 1, self.full_ratio)))
        return self.batches_per_update

    def _is_warm_up(self, step: int) -> bool:
        return step <= self.warmup_steps and self.warmup_steps > 0

    def _ramp(self, step: int, start: float, end: float) -> float:
        return float(np.interp(step, [0, self.warmup_steps], [start, end]))


class EarlyStopping:
    """Stops when ``patience`` epochs have brought no strictly better fitness; patience 0 never stops."""

    def __init__(self, patience: int) -> None:
        self.patience = patience or math.inf
        self.best_fitness = -1.0
        self.best_epoch = 0

    def state_dict(self) -> dict[str, float]:
        """Return what it knows; the patience is an option."""
        return {"best_fitness": self.best_fitness, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Take up a ``state_dict``."""
        self.best_fitness, self.best_epoch = float(state["best_fitness"]), int(state["best_epoch"])

    def may_stop_at(self, epoch: int) -> bool:
        """True when this epoch could be the last, so that it has to be validated."""
        return epoch - self.best_epoch >= self.patience

    def stops(self, epoch: int, fitness: float | None) -> bool:
        """Record the fitness of an epoch (None: not validated) and return whether to stop."""
        if fitness is not None and fitness > self.best_fitness:
            self.best_fitness, self.best_epoch = fitness, epoch
        return epoch - self.best_epoch >= self.patience
