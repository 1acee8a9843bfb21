"""Any model of timm by name, https://github.com/huggingface/pytorch-image-models (Apache-2.0).

timm's models differ in what they need to run at the sizes of a detector. The few ways that exist are tried in order on
the meta device, where a forward pass computes shapes alone; the first one whose maps are right is used.
"""

import functools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import timm
import torch
from torch import Tensor, nn

from models.backbones._level_adapter import (
    CHOOSE,
    Level,
    LevelAdapter,
    Recipe,
    input_scale,
    last_of_each_stride,
    needed_levels,
    probes,
    scaled,
    unpadded,
)
from models.backbones._names import registered_names
from models.backbones._timm_depths import timm_depths
from models.backbones._timm_fuse import fuse_timm
from models.backbones._timm_weights import load_timm
from models.layers.observe import without_lstm_steps
from models.registry import BackboneEntry, adamw
from utils.errors import ConfigError
from utils.registry import suggest

DEFAULT_SIZE = (640, 640)  # for which models that are bound to one size are built
GETTER = {"feature_cls": "getter"}  # NCHW maps of a model that works in another layout
WAYS: tuple[dict[str, Any], ...] = (  # keywords of create_model for models that take any size
    {},
    GETTER,
    {"dynamic_img_size": True},
    {"dynamic_img_size": True} | GETTER,
    {"strict_img_size": False} | GETTER,
)
MULTIPLES = (64, 128, 256)  # of which some want the sides of images, for their attention works on blocks of cells
TABLED = ("mvitv2",)  # their tables of positions are for one size; what is beyond is no error on the meta device
FIX = "choose a model with feature maps of strides 8, 16, 32 at any size"
RESERVED = ("cache_dir", "checkpoint_path", "feature_cls", "features_only", "in_chans", "num_classes", "out_indices")
Size = tuple[int, int]


def timm_entry(name: str) -> BackboneEntry:
    """Return the registry entry of the timm model ``name``. Raises: ConfigError with close names."""
    if not is_timm_name(name):
        lister = "python models/yolo.py --list-backbones timm/PART lists those with PART in their names"
        hint = suggest(name, registered_names("timm")) or lister
        raise ConfigError(f"unknown timm model {name!r}", hint)
    facts = timm.get_pretrained_cfg(name)
    return BackboneEntry(
        functools.partial(build_timm, name),
        mean=tuple(facts.mean),
        std=tuple(facts.std),
        load=functools.partial(load_timm, name),
        recipe=adamw(0.02),
    )


def is_timm_name(name: str) -> bool:
    """True for names that timm has now, with or without the tag of their weights (``resnet18.a1_in1k``)."""
    base, dot, _tag = name.partition(".")
    return timm.get_pretrained_cfg(base) is not None and (not dot or name in timm.list_pretrained(f"{base}.*"))


def build_timm(
    name: str,
    *,
    reductions: Sequence[int] | None = None,
    in_channels: int = 3,
    img_size: int | Sequence[int] | None = None,
    **options: Any,
) -> LevelAdapter:
    """Return timm's ``name`` as a backbone of the levels ``reductions``.

    ``img_size`` is for models that are bound to the size they are built for; further options go to
    ``timm.create_model``. Raises: ConfigError.
    """
    size = (img_size, img_size) if isinstance(img_size, int) else img_size and tuple(img_size)
    reserved = [key for key in options if key in RESERVED or key.startswith("pretrained")]
    if reserved:
        raise ConfigError(f"timm/{name}: {reserved[0]} is not an option of a backbone", "leave it out")
    recipe = find_recipe(name, in_channels, size, tuple((key, _frozen(value)) for key, value in options.items()))
    available = last_of_each_stride(recipe.levels)
    wanted = tuple(reductions or (level.reduction for level in available))
    try:
        levels = needed_levels(available, wanted)
    except ConfigError as error:
        raise ConfigError(f"timm/{name}: {error.what}", error.fix) from error
    body = _create(name, in_channels, out_indices=[level.index for level in levels], **dict(recipe.options))
    depths = functools.partial(timm_depths, name, dict(recipe.options))
    return LevelAdapter(body, recipe, levels, wanted, in_channels=in_channels, fuse_body=fuse_timm, depths=depths)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _create(name: str, in_channels: int, **options: Any) -> nn.Module:
    return timm.create_model(name, features_only=True, in_chans=in_channels, **options)


@dataclass(frozen=True)
class Way:
    """Keywords of create_model, the sizes of images to try them at, and what a recipe says of sizes."""

    keywords: dict[str, Any]
    sizes: Sequence[Size]
    limits: dict[str, Any] = field(default_factory=dict)


@functools.lru_cache
def find_recipe(name: str, in_channels: int, img_size: Size | None, options: tuple[tuple[str, Any], ...]) -> Recipe:
    """Return the first way to create ``name`` that works at every probed size, else at ``img_size`` alone.

    Raises: ConfigError with the reason when there is none.
    """
    errors: list[Exception] = []
    for way in _ways(name, img_size):
        if "multiple" in way.limits and isinstance(errors[0], ConfigError):
            break  # the model runs at any size, it is its maps that are wrong
        tried = dict(options) | way.keywords
        try:
            levels, scale = _probe(name, in_channels, tried, way.sizes)
        except Exception as error:  # whatever a foreign model raises is the reason that is reported
            errors += [error] if "multiple" not in way.limits else []
            continue
        return Recipe(levels, scale, options=tuple(tried.items()), **way.limits)
    limit = None if isinstance(errors[0], ConfigError) else _own_limit(name, in_channels, img_size, dict(options))
    reason, fix = limit or (_reason(errors), "correct the options or leave them out" if options else FIX)
    given = f" with {dict(options)}" if options else ""
    raise ConfigError(f"timm/{name}{given} cannot be a detector's backbone: {reason}", fix)


def _ways(name: str, img_size: Size | None) -> Iterator[Way]:
    """Yield what to try, in order; a size asked for is always used."""
    is_tabled = name.startswith(TABLED)
    if img_size is None and not is_tabled:
        for keywords in WAYS:
            yield Way(keywords, probes())
    size = img_size or DEFAULT_SIZE
    largest = {"largest_size": size} if is_tabled else {}
    for sizes, limits in ((probes(), {}), ((size,), {"fixed_size": size})):
        for keywords in ({}, GETTER):
            yield Way(keywords | {"img_size": size}, sizes, largest | limits)
    if img_size is None:
        for multiple in MULTIPLES:
            yield Way({}, probes(multiple), {"multiple": multiple})


def _own_limit(name: str, in_channels: int, img_size: Size | None, options: dict[str, Any]) -> tuple[str, str] | None:
    """Return (which sizes alone a model runs at, what to do about it), None where there are none."""
    side = max(img_size or DEFAULT_SIZE)
    trained = tuple(timm.get_pretrained_cfg(name).input_size[1:])
    limits = (
        ({"img_size": (side, side)}, (side, side), "it takes square images only", f"use img_size {side}"),
        ({}, trained, f"it takes images of {trained[0]}×{trained[1]} only, for which it is built", FIX),
    )
    for keywords, size, reason, fix in limits:
        if size == img_size:
            continue
        with suppress(Exception):  # of a foreign model: it does not run at this size either
            _probe(name, in_channels, options | keywords, (size,))
            return reason, fix
    return None


def _reason(errors: Sequence[Exception]) -> str:
    """Return the most telling reason: our own, else the library's."""
    telling = [error for error in errors if not isinstance(error, TypeError)] or errors[:1]
    own = [error.what for error in telling if isinstance(error, ConfigError)]
    reason = own[-1] if own else f"{telling[-1]}".strip().split("\n")[0][:200]
    return reason or f"timm cannot build it in this form ({type(telling[-1]).__name__})"


def _probe(
    name: str, in_channels: int, options: dict[str, Any], sizes: Sequence[Size]
) -> tuple[tuple[Level, ...], Fraction]:
    """Return (all levels, scale) after checking the shapes of the maps at ``sizes``."""
    with torch.device("meta"):
        model = without_lstm_steps(_create(name, in_channels, **options)).eval()
    info = model.feature_info
    channels, strides = info.channels(), info.reduction()
    if getattr(model, "output_fmt", "NCHW") != "NCHW":
        raise ConfigError(f"its maps are {model.output_fmt}", CHOOSE)
    scale = input_scale(strides)
    exact = [True] * len(strides)
    for size in sizes:
        height, width = scaled(size, scale)
        with torch.no_grad():
            maps = model(torch.empty(1, in_channels, height, width, device="meta"))
        for i, (feature, c, r) in enumerate(zip(maps, channels, strides, strict=True)):
            exact[i] &= _fits(feature, c, (height / r, width / r))
    effective = (int(stride / scale) for stride in strides)
    return tuple(map(Level, info.out_indices, channels, effective, exact)), scale


def _fits(feature: Tensor, channels: int, cells: tuple[float, float]) -> bool:
    """Say whether a map has just the cells expected. Raises: ConfigError if it is over one cell off, or not NCHW."""
    shape = tuple(feature.shape)
    off = max(abs(side - cell) for side, cell in zip(shape[2:], cells, strict=True))
    if shape[1] != channels:
        raise ConfigError(f"a map has {shape[1]} channels where {channels} are declared", CHOOSE)
    if off > 1:
        raise ConfigError(unpadded(shape[2:], cells), CHOOSE)
    return off == 0
