"""Any classification model of torchvision by name, as the chain of modules that its image runs through (BSD-3-Clause).

torchvision gives no feature maps. A run on the meta device, where it costs shapes alone, shows which modules feed each
other directly; the last one of each stride gives a level.
"""

import functools
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision import models as zoo

from models.backbones._level_adapter import PROBES, Level, LevelAdapter, Recipe, needed_levels, unpadded
from models.backbones._names import registered_names
from models.registry import BackboneEntry, adamw
from utils.errors import CheckpointError, ConfigError
from utils.registry import suggest

STRIDES = (2, 4, 8, 16, 32)
NEEDED = 8  # the stride that a model must have or exceed: pooling the maps of its first layers makes no backbone of it
CLASSIFIER = "classifier"  # a child of models; in some it is convolutions
FIX = "choose a model with feature maps of strides 8, 16, 32 at any size, such as torchvision/resnet18"
DOTTED = re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.(\d)")  # keys of torchvision's files from before PyTorch 0.4


def torchvision_entry(name: str) -> BackboneEntry:
    """Return the registry entry of the torchvision model ``name``. Raises: ConfigError with close names."""
    names = registered_names("torchvision")
    if name not in names:
        hint = suggest(name, names) or "python models/yolo.py --list-backbones torchvision/ lists them"
        raise ConfigError(f"unknown torchvision model {name!r}", hint)
    weights = zoo.get_model_weights(name).DEFAULT
    facts = weights.transforms()
    return BackboneEntry(
        functools.partial(build_torchvision, name),
        url=weights.url,
        convert=functools.partial(to_adapter_layout, name),
        mean=tuple(facts.mean),
        std=tuple(facts.std),
        recipe=adamw(0.02),
    )


def build_torchvision(name: str, *, reductions: Sequence[int] | None = None, in_channels: int = 3) -> LevelAdapter:
    """Return torchvision's ``name`` as a backbone of the levels ``reductions``. Raises: ConfigError if it is none."""
    steps, available, channels_last = find_levels(name)
    wanted = tuple(reductions or (level.reduction for level in available))
    try:
        levels = needed_levels(available, wanted)
    except ConfigError as error:
        raise ConfigError(f"torchvision/{name}: {error.what}", error.fix) from error
    body = Chain(_create(name), steps, [level.index for level in levels], channels_last)
    if in_channels != 3:
        _replace_first_conv(body, in_channels)
    return LevelAdapter(body, Recipe(tuple(available)), levels, wanted, in_channels=in_channels)


def _replace_first_conv(body: nn.Module, in_channels: int) -> None:
    name, conv = next((name, module) for name, module in body.named_modules() if isinstance(module, nn.Conv2d))
    has_bias = conv.bias is not None
    first = nn.Conv2d(in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, bias=has_bias)
    body.set_submodule(name, first)


class Chain(nn.Module):
    """The modules ``steps`` of a model, one after the other; returns the outputs of those at ``taps`` as (B, C, H, W).

    Keys of the state dict are those of the model.
    """

    def __init__(self, model: nn.Module, steps: Sequence[str], taps: Sequence[int], channels_last: bool) -> None:
        super().__init__()
        self._steps, self._taps, self._channels_last = tuple(steps[: taps[-1] + 1]), tuple(taps), channels_last
        for path in self._steps:
            container, dot, name = path.partition(".")
            if not dot:
                self.add_module(path, model.get_submodule(path))
                continue
            if container not in self._modules:
                self.add_module(container, nn.Sequential())
            self.get_submodule(container).add_module(name, model.get_submodule(path))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for index, path in enumerate(self._steps):
            x = self.get_submodule(path)(x)
            if index in self._taps:
                maps.append(x.permute(0, 3, 1, 2) if self._channels_last else x)
        return maps


@functools.lru_cache
def find_levels(name: str) -> tuple[list[str], list[Level], bool]:
    """Return (steps of the model, levels with the index of their step, maps are (B, H, W, C)).

    Raises: ConfigError with torchvision's own reason when the model does not run at the sizes of a detector.
    """
    with torch.device("meta"):
        model = _create(name).eval()
    try:
        runs = [_run(model, size) for size in PROBES]
    except Exception as error:  # whatever a foreign model raises is the reason that is reported
        reason = _own_size(name, model) or f"{error}".strip().split("\n")[0][:200] or type(error).__name__
        raise ConfigError(f"torchvision/{name} cannot be a detector's backbone: {reason}", FIX) from error
    layouts = [(_last_of_each_stride(runs, channels_last), channels_last) for channels_last in (False, True)]
    last, channels_last = max(layouts, key=lambda layout: len(layout[0]))
    if max(last, default=0) < NEEDED:
        reason = _what_is_off(runs[0])
        raise ConfigError(f"torchvision/{name} cannot be a detector's backbone: {reason}", FIX)
    axis = 3 if channels_last else 1
    steps = sorted(last.items())
    levels = [Level(index, runs[0].shapes[index][axis], stride, exact) for stride, (index, exact) in steps]
    return runs[0].paths, levels, channels_last


def _own_size(name: str, model: nn.Module) -> str:
    """Say at which size alone the model runs, nothing where there is none."""
    for side in (*zoo.get_model_weights(name).DEFAULT.transforms().crop_size, 224):
        with suppress(Exception):  # of a foreign model: it does not run at this size either
            _run(model, (side, side))
            return f"it takes images of {side}×{side} only, for which it is built"
    return ""


@dataclass
class Run:
    """What an image ran through: modules of which each reads just what the one before it returned."""

    end: Tensor
    paths: list[str] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def note(self, path: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        """Lengthen the chain if the module continues it."""
        if inputs[0] is self.end and isinstance(output, Tensor):
            self.end = output
            self.paths.append(path)
            self.shapes.append(tuple(output.shape))


@torch.no_grad()
def _run(model: nn.Module, size: tuple[int, int]) -> Run:
    images = torch.empty(1, 3, *size, device="meta")
    run = Run(images)
    steps = [
        (f"{name}.{inner}", module) if inner else (name, module)
        for name, child in model.named_children()
        if name != CLASSIFIER
        for inner, module in (child.named_children() if isinstance(child, nn.Sequential) else [("", child)])
    ]
    hooks = [module.register_forward_hook(functools.partial(run.note, path)) for path, module in steps]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return run


def _last_of_each_stride(runs: Sequence[Run], channels_last: bool) -> dict[int, tuple[int, bool]]:
    """Return stride → (index of the last step with that stride at every size, it has just the cells of that stride).

    Unpadded models may be up to one cell off; a step that is not goes before one that is.
    """
    rows = slice(1, 3) if channels_last else slice(2, 4)
    last: dict[int, tuple[int, bool]] = {}
    for index, shapes in enumerate(zip(*(run.shapes for run in runs), strict=True)):
        if any(len(shape) != 4 for shape in shapes):
            continue
        for stride in STRIDES:
            off = max(
                abs(cells - Fraction(side, stride))
                for size, shape in zip(PROBES, shapes, strict=True)
                for side, cells in zip(size, shape[rows], strict=True)
            )
            if off == 0 or (off <= 1 and not last.get(stride, (0, False))[1]):
                last[stride] = (index, off == 0)
    return last


def _what_is_off(run: Run) -> str:
    """Return why no step has the cells of a stride that is needed."""
    for _, _, *cells in (shape for shape in run.shapes if len(shape) == 4):
        wanted = min(([side / stride for side in PROBES[0]] for stride in STRIDES), key=lambda w: abs(w[0] - cells[0]))
        if abs(wanted[0] - cells[0]) > 1:
            return unpadded(cells, wanted)
    return f"it has no feature maps of strides {', '.join(map(str, STRIDES))}"


def _create(name: str) -> nn.Module:
    """Return the classifier on the default device; RegNet reads tensors of its own, so all but weights must be real."""
    device = torch.get_default_device()
    with torch.device("cpu"), _WeightsOn(device):
        model = zoo.get_model(name, weights=None)
    return model.to(device)


class _WeightsOn(TorchFunctionMode):
    """Makes ``torch.empty``, with which layers create their weights, use ``device``."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty and kwargs.get("device") is None:
            kwargs = kwargs | {"device": self._device}
        return func(*args, **kwargs)


def to_adapter_layout(name: str, state: dict[str, Tensor], adapter: nn.Module) -> dict[str, Tensor]:
    """Return a state dict of torchvision's classifier in the layout of ``adapter``.

    Raises: CheckpointError for keys that the classifier does not have either.
    """
    state = {DOTTED.sub(r"\1\2", key): value for key, value in state.items()}
    with torch.device("meta"):
        whole = _create(name).state_dict()
    foreign = [key for key in state if key not in whole]
    if foreign:
        raise CheckpointError(
            f"{foreign[0]} and {len(foreign) - 1} more tensors are not of torchvision/{name}",
            f"give a file of torchvision/{name}, or train without weights",
        )
    own = adapter.state_dict()
    grown = {key: value for key, value in own.items() if not key.startswith("body.")}  # no file has the adapter's own
    return grown | {f"body.{key}": value for key, value in state.items() if f"body.{key}" in own}
