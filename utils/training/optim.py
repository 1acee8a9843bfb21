"""The optimizer: parameter groups as in the reference, and one step with clipping, loss scaling and EMA."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from utils.collective import gather
from utils.dist import world
from utils.errors import LOWER_RATE, ConfigError, DivergedError
from utils.training.ema import ModelEMA
from utils.training.processes import averaged

MAX_GRAD_NORM = 10.0
FUSED_ON = ("cpu", "cuda")  # one kernel for a step; AdamW on a CPU: 3.3 ms instead of 16, of 4.5 M parameters
KERNELS = ("fused", "foreach", "capturable", "differentiable")  # entries of a parameter group about how it is stepped
NAMED = 3  # tensors in a message
NORMS = tuple(cls for name, cls in vars(nn).items() if "Norm" in name and isinstance(cls, type))


def parameter_groups(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    backbone: nn.Module | None = None,
    backbone_lr: float = 1.0,
    factors: Mapping[int, float] = MappingProxyType({}),
) -> list[dict]:
    """Return three groups in the order biases, decayed weights, norm weights; only the second decays.

    With a ``backbone`` that has its own rate (``backbone_lr`` × ``lr``) three more follow for it, or three for each of
    the ``factors`` of that, by ids of parameters. In a backbone, vectors (layer scales, position biases) and what its
    ``no_weight_decay()`` names do not decay either.
    """
    inside = set(map(id, backbone.parameters())) if backbone is not None else set()
    undecayed = _undecayed(backbone) if backbone is not None else set()
    sorts: dict[float, list[list[nn.Parameter]]] = {1.0: [[], [], []]}
    if inside and not factors:
        sorts.setdefault(backbone_lr, [[], [], []])
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                key = id(parameter)
                factor = (backbone_lr if key in inside else 1.0) * factors.get(key, 1.0)
                sorts.setdefault(factor, [[], [], []])[_kind(module, name, key in undecayed)].append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": weight_decay if kind == 1 else 0.0,
            "lr": lr * factor,
            "biases": kind == 0,
        }
        for factor, kinds in sorts.items()
        for kind, parameters in enumerate(kinds)
    ]


def _kind(module: nn.Module, name: str, undecayed: bool) -> int:
    """Return 0 for a bias, 1 for a weight that decays, 2 for the weight of a norm and its like."""
    if name == "bias":
        return 0
    return 2 if undecayed or (name == "weight" and isinstance(module, NORMS)) else 1


def _undecayed(backbone: nn.Module) -> set[int]:
    """Return the ids of a backbone's parameters that its recipe does not decay."""
    body = getattr(backbone, "body", backbone)
    named = set(body.no_weight_decay()) if hasattr(body, "no_weight_decay") else set()
    return {id(p) for key, p in body.named_parameters() if p.ndim <= 1 or key in named}


def build_optimizer(name: str, groups: list[dict], momentum: float) -> torch.optim.Optimizer:
    """Return SGD with Nesterov momentum (plain where that is 0), Adam or AdamW over :func:`parameter_groups`."""
    if not any(group["params"] for group in groups):
        raise ConfigError("every row of the model is frozen", "freeze fewer rows")
    fused = all(p.device.type in FUSED_ON for group in groups for p in group["params"])
    if name == "SGD":
        return torch.optim.SGD(groups, momentum=momentum, nesterov=momentum > 0, fused=fused)
    kind = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}[name]
    return kind(groups, betas=(momentum, 0.999), fused=fused)


class Stepper:
    """Accumulates gradients and steps the optimizer once enough batches have gone by."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        ema: ModelEMA,
        scaled: bool,
        max_norm: float = MAX_GRAD_NORM,
    ) -> None:
        """``scaled`` switches loss scaling on, which float16 needs and bfloat16 does not.

        Gradients whose norm over all parameters is above ``max_norm`` are shrunk to it; 0 leaves them as they are.
        """
        self.optimizer = optimizer
        self.ema = ema
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.scaler = torch.amp.GradScaler(enabled=scaled)
        self.max_norm = max_norm
        self.last_step = -1
        self.loss: torch.Tensor | None = None  # the sum over the batches since the last step

    @property
    def is_fresh(self) -> bool:
        """Whether no batch has been added since the last step."""
        return self.loss is None

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a batch."""
        self.scaler.scale(loss * world()).backward()  # of several processes, gradients are averaged
        self.loss = loss.detach() if self.loss is None else self.loss + loss.detach()

    def norm(self) -> torch.Tensor:
        """Return the norm of all gradients together, a scalar on their device; 0 where there are none."""
        return nn.utils.get_total_norm([p.grad for p in self.parameters.values() if p.grad is not None])

    def check(self, norm: torch.Tensor | None = None) -> None:
        """Look at the losses and gradients of the batches since the last step; a GPU is waited for once.

        Raises: DivergedError where one is not finite. Loss scaling makes such gradients when it tries how far it can
        go; they are an error only where the losses are no longer scaled up.
        """
        norm = self.norm() if norm is None else norm
        loss = norm.new_zeros(()) if self.loss is None else self.loss.to(norm)
        loss_is_finite, norm_is_finite = torch.stack((loss, norm)).isfinite().tolist()
        if not loss_is_finite:
            raise DivergedError("a loss is not finite", LOWER_RATE)
        if not norm_is_finite and not (self.scaler.is_enabled() and self.scaler.get_scale() >= 1):
            raise DivergedError(self._what_is_not_finite(), LOWER_RATE)

    def steps_at(self, step: int, accumulate: int) -> bool:
        """Return whether batch number ``step`` of the run is the last of those whose gradients are added up."""
        return step - self.last_step >= accumulate

    def step(self, step: int, accumulate: int) -> bool:
        """Update the weights and their average if ``accumulate`` batches have passed; say whether.

        Raises: DivergedError where a loss or a gradient is not finite, before it spoils a weight, see ``check``. Where
        it is by loss scaling, the update alone is left out.
        """
        if not self.steps_at(step, accumulate):
            return False
        self.scaler.unscale_(self.optimizer)
        norm = self.norm()
        self.check(norm)
        if self.max_norm:
            nn.utils.clip_grads_with_norm_(self.parameters.values(), self.max_norm, norm)
        if isinstance(self.optimizer, torch.optim.SGD):
            self._begin_late_momenta()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update()
        self.last_step, self.loss = step, None
        return True

    def _begin_late_momenta(self) -> None:
        """Give parameters that were frozen until now the momentum of a first step: the kernel wants all, or none."""
        state = self.optimizer.state
        for parameter in self.parameters.values() if state else ():
            if parameter.grad is not None and parameter not in state:
                state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)

    def state_dict(self) -> dict[str, Any]:
        """Return what a run needs to go on behind any batch: it may lie between two updates, so gradients are in it.

        Of those that loss scaling has spoilt only the names are, as the update will be left out.
        """
        gradients = {name: p for name, p in self.parameters.items() if p.grad is not None}
        overflown = [name for name, p in gradients.items() if not torch.isfinite(p.grad).all()]
        overflown = sorted(set().union(*gather(overflown)))
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "updates": self.ema.updates,
            "last_step": self.last_step,
            "gradients": averaged({name: p.grad for name, p in gradients.items() if name not in overflown}),
            "overflown": overflown,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a ``state_dict``; which kernels step is decided by this machine, not by the one that saved."""
        saved, own = state["optimizer"], self.optimizer.param_groups
        groups = zip(saved["param_groups"], own, strict=True)
        groups = [group | {key: mine[key] for key in KERNELS if key in mine} for group, mine in groups]
        self.optimizer.load_state_dict({**saved, "param_groups": groups})
        self.scaler.load_state_dict(state["scaler"])
        self.ema.updates, self.last_step = state["updates"], state["last_step"]
        self.optimizer.zero_grad(set_to_none=True)
        self.loss = None
        for name, gradient in state["gradients"].items():
            self.parameters[name].grad = gradient.to(self.parameters[name].device)
        for name in state.get("overflown", ()):
            self.parameters[name].grad = torch.full_like(self.parameters[name], torch.inf)

    def _what_is_not_finite(self) -> str:
        gradients = {name: p.grad for name, p in self.parameters.items() if p.grad is not None}
        names = [name for name, gradient in gradients.items() if not torch.isfinite(gradient).all()]
        if not names:
            return "the norm of the gradients is beyond float32"
        more = ", …" if len(names) > NAMED else ""
        return f"{len(names)} of {len(gradients)} gradients are not finite ({', '.join(names[:NAMED])}{more})"
