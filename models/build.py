"""Make the module of one row; what a constructor refuses becomes an error that the row's place can be put before."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from models.layers.activation import ActivationFactory, set_activation
from models.parse import Row
from models.registry import MAX_PARAMETERS, BackboneEntry
from models.wiring import Call
from utils.errors import ConfigError
from utils.registry import suggest

NORM_EPS, NORM_MOMENTUM = 1e-3, 0.03  # of the batch norms of neck and head; a backbone keeps its own
REFUSALS = (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError, AttributeError)


def build_layer(row: Row, call: Call, activation: ActivationFactory | None, budget: int) -> nn.Module:
    """Return the module of a layer row. Raises: ConfigError before anything of more than ``budget`` is allocated."""

    def make() -> nn.Module:
        copies = [row.entry.cls(*call.args, **call.keywords) for _ in range(call.copies)]
        module = nn.Sequential(*copies) if call.copies > 1 else copies[0]
        if activation:
            set_activation(module, activation)
        return module

    with torch.device("meta"):  # shapes without memory
        size = count_parameters(_attempt(row.name, call.args, make))
    if size > budget:
        raise ConfigError(
            f"{row.name} has {size:,} parameters, but {budget:,} are left of {MAX_PARAMETERS:,}",
            "lower width_multiple, depth_multiple or the numbers of this row",
        )
    module = _attempt(row.name, call.args, make)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps, norm.momentum = NORM_EPS, NORM_MOMENTUM
    return module


def build_backbone(row: Row, reductions: Sequence[int], in_channels: int) -> nn.Module:
    """Return the backbone of a row with the levels that are read, without weights."""
    _, options = backbone_args(row.entry, row.args)
    keywords = {"reductions": tuple(reductions), "in_channels": in_channels, **options}
    backbone = _attempt(row.name, options, lambda: row.entry(**keywords))
    channels, declared = getattr(backbone, "feature_channels", ()), tuple(getattr(backbone, "reductions", ()))
    if declared != tuple(reductions) or len(channels) != len(declared):
        raise ConfigError(
            f"{row.name} declares reductions {list(declared)} and feature_channels {list(channels)}, "
            f"the rows below read reductions {list(reductions)}",
            "a backbone returns the maps it is asked for, fine to coarse, and declares both",
        )
    return backbone


def backbone_args(entry: BackboneEntry, args: list) -> tuple[Any, dict[str, Any]]:
    """Split the arguments of a backbone row: (weights: None, True, path or URL; keyword options of the builder)."""
    rest = list(args)
    options = rest.pop() if rest and isinstance(rest[-1], dict) else {}
    weights = rest.pop(0) if rest else None
    if rest or not isinstance(weights, bool | str | None):
        raise ConfigError(f"args {args!r} of a backbone are not [weights, {{option: value}}]", "give [False] or [True]")
    parameters = inspect.signature(entry.build).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.name not in ("reductions", "in_channels")]
    unknown = [name for name in options if name not in known]
    if unknown and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        hint = suggest(str(unknown[0]), known) or f"known: {', '.join(known) or 'none'}"
        raise ConfigError(f"unknown option {unknown[0]!r} of the backbone", hint)
    return None if weights in (False, "None", "") else weights, options


def count_parameters(module: nn.Module) -> int:
    """Return the number of learnable and frozen parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


@contextmanager
def norms_passed_by(model: nn.Module) -> Iterator[None]:
    """Let batch norms return their input, for passes on the meta device, of which they would take two thirds."""
    norms = [module for module in model.modules() if type(module) is nn.BatchNorm2d]
    for norm in norms:
        norm.forward = _unchanged  # of this module only: it hides the method
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _unchanged(x: Tensor) -> Tensor:
    return x


def _attempt(name: str, args: Any, make: Callable[[], nn.Module]) -> nn.Module:
    try:
        return make()
    except REFUSALS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{name} refuses the arguments {args}: {reason}", "correct the arguments") from error
