"""The optimizer: parameter groups as in the reference, and one step with clipping, loss scaling and EMA."""

import torch
from torch import nn

from utils.engine.ema import ModelEMA

MAX_GRAD_NORM = 10.0
NORMS = tuple(cls for name, cls in vars(nn).items() if "Norm" in name and isinstance(cls, type))


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Return three groups in the order biases, decayed weights, norm weights; only the second decays."""
    biases, weights, norms = [], [], []
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            if name == "bias":
                biases.append(parameter)
            elif name == "weight" and isinstance(module, NORMS):
                norms.append(parameter)
            else:
                weights.append(parameter)
    decays = (0.0, weight_decay, 0.0)
    return [{"params": p, "weight_decay": d} for p, d in zip((biases, weights, norms), decays, strict=True)]


def build_optimizer(
    model: nn.Module, name: str, lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return SGD with Nesterov momentum, Adam or AdamW over :func:`parameter_groups`."""
    groups = parameter_groups(model, weight_decay)
    if name == "SGD":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=True)
    kind = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}[name]
    return kind(groups, lr=lr, betas=(momentum, 0.999), weight_decay=0.0)


class Stepper:
    """Accumulates gradients and steps the optimizer once enough batches have gone by."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, ema: ModelEMA, scaled: bool) -> None:
        """``scaled`` switches loss scaling on, which float16 needs and bfloat16 does not."""
        self.optimizer = optimizer
        self.ema = ema
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.scaler = torch.amp.GradScaler(enabled=scaled)
        self.last_step = -1

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a batch."""
        self.scaler.scale(loss).backward()

    def step(self, step: int, accumulate: int) -> bool:
        """Update the weights and their average if ``accumulate`` batches have passed; say whether."""
        if step - self.last_step < accumulate:
            return False
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.parameters, MAX_GRAD_NORM)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update()
        self.last_step = step
        return True
