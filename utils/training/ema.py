"""Exponential moving average of a model's weights, which validates better than the weights themselves."""

import copy
import math

import torch
from torch import nn

DECAY = 0.9999
RAMP_UPDATES = 2000  # the decay grows towards DECAY over about so many updates


class ModelEMA:
    """Keeps ``ema``, a copy of the model in eval mode whose floating-point state follows the model's."""

    def __init__(self, model: nn.Module) -> None:
        self.ema = copy.deepcopy(model).eval().requires_grad_(False)
        self.updates = 0
        own, its = self.ema.state_dict(), model.state_dict()
        floating = [key for key, value in own.items() if value.is_floating_point()]
        self._own = [own[key] for key in floating]
        self._its = [its[key] for key in floating]  # views: state_dict() shares storage with the model

    @torch.no_grad()
    def update(self) -> None:
        """Move every floating-point parameter and buffer towards the model's."""
        self.updates += 1
        decay = DECAY * (1 - math.exp(-self.updates / RAMP_UPDATES))
        torch._foreach_lerp_(self._own, self._its, 1 - decay)
