"""Turn a body that returns some feature maps into a backbone that returns the levels a detector wants.

Levels that the body lacks are made from its own: one learned 2× upsampling for the next finer level, max-pooling for
coarser ones — for a plain vision transformer, whose maps all have one stride, this is the simple feature pyramid of
Exploring Plain Vision Transformer Backbones for Object Detection, https://arxiv.org/abs/2203.16527 (Sec. 3).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers.observe import fold_batch_norms, unread_parameters
from utils.errors import ConfigError

PROBES = ((320, 320), (416, 640))  # sizes of images, px, at which the maps of a body are checked
CHOOSE = "choose a backbone with strides 8, 16, 32"


@dataclass(frozen=True)
class Level:
    """One map of a body: where the body has it, its channels, and its stride in pixels of the detector's image."""

    index: int
    channels: int
    reduction: int
    exact: bool = True  # it has just H / reduction rows; otherwise about that many


@dataclass(frozen=True)
class Recipe:
    """How a model of a library runs at the sizes of a detector."""

    levels: tuple[Level, ...]  # all its maps
    scale: Fraction = Fraction(1)  # by which images are resized first
    fixed_size: tuple[int, int] | None = None  # the only size (H, W) of images that it takes, None for any
    largest_size: tuple[int, int] | None = None  # the largest size (H, W) of images that it takes, None for any
    multiple: int = 1  # of which the sides of images are, where that is more than the coarsest stride
    options: tuple[tuple[str, Any], ...] = ()  # with which the library creates it


def input_scale(reductions: Sequence[int]) -> Fraction:
    """Return the factor by which the image is resized first so that every stride becomes a power of two.

    1 for most; 7/8 for strides 7 and 14. Raises: ConfigError where no factor does that.
    """
    scale = Fraction(reductions[0], 2 ** math.ceil(math.log2(reductions[0])))
    effective = [r / scale for r in reductions]
    if any(r.denominator != 1 or r.numerator & (r.numerator - 1) for r in effective):
        strides = ", ".join(map(str, reductions))
        raise ConfigError(f"its maps have strides {strides}, which no resizing makes powers of two", CHOOSE)
    return scale


def probes(multiple: int = 1) -> Sequence[tuple[int, int]]:
    """Return the sizes at which a body is checked whose images have sides that are multiples of this."""
    return PROBES if multiple == 1 else ((multiple, multiple), (multiple, 2 * multiple))


def scaled(size: tuple[int, int], scale: Fraction) -> tuple[int, int]:
    """Return (height, width) times ``scale``, rounded down."""
    height, width = (side * scale.numerator // scale.denominator for side in size)
    return height, width


def last_of_each_stride(levels: Sequence[Level]) -> list[Level]:
    """Return the last level of every stride, fine to coarse."""
    last = {level.reduction: level for level in levels}
    return [last[reduction] for reduction in sorted(last)]


def needed_levels(available: Sequence[Level], wanted: Sequence[int]) -> list[Level]:
    """Return the levels of the body, fine to coarse, from which ``wanted`` reductions can be had.

    Raises: ConfigError when a level is missing that neither pooling nor one upsampling gives.
    """
    by_reduction = {level.reduction: level for level in available}
    finest, coarsest = available[0], available[-1]
    needed = {}
    for reduction in wanted:
        if reduction in by_reduction:
            level = by_reduction[reduction]
        elif reduction * 2 == finest.reduction:
            level = finest
        elif reduction > coarsest.reduction:
            level = coarsest
        else:
            have = ", ".join(f"/{level.reduction}" for level in available)
            raise ConfigError(f"no map of stride {reduction} (it has {have})", CHOOSE)
        needed[level.reduction] = level
    return [needed[r] for r in sorted(needed)]


def unpadded(found: Sequence[int], wanted: Sequence[float]) -> str:
    """Return why a map of these cells (height, width) is no level."""
    pairs = (f"{sides[0]:g}×{sides[1]:g}" for sides in (found, wanted))
    return "its convolutions are not padded: a map has {} cells where its stride gives {}".format(*pairs)


class LevelAdapter(nn.Module):
    """Images (B, in_channels, H, W) → one map (B, C, H / r, W / r) for each r of ``reductions``, fine to coarse.

    ``body`` returns the maps ``levels``, in that order; trainable parameters that none of them depends on are frozen.
    ``fuse_body(body, shape)`` re-parameterises it, given the shape of an input; ``depths(body)``, where it is known,
    tells by name how many layers each parameter is from the end.
    """

    def __init__(
        self,
        body: nn.Module,
        recipe: Recipe,
        levels: Sequence[Level],
        reductions: Sequence[int],
        *,
        in_channels: int = 3,
        fuse_body: Callable[[nn.Module, Sequence[int]], object] = fold_batch_norms,
        depths: Callable[[nn.Module], dict[str, int]] | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.recipe = recipe
        self.levels = tuple(levels)
        self.reductions = tuple(reductions)
        self.in_channels = in_channels
        self._fuse_body = fuse_body
        self.depths = depths
        self._is_fused = False
        finest, coarsest = levels[0], levels[-1]
        by_reduction = {level.reduction: level.channels for level in levels}
        self.feature_channels = [
            by_reduction.get(r, finest.channels if r < finest.reduction else coarsest.channels) for r in reductions
        ]
        self.upsample = None
        if reductions[0] < finest.reduction:
            self.upsample = nn.ConvTranspose2d(finest.channels, finest.channels, 2, stride=2)
        for name in unread_parameters(body, self.body_shape(batch=2)):
            body.get_parameter(name).requires_grad_(False)  # training on several GPUs would wait for its gradient

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The only size (height, width) of images that the body takes, None for any."""
        return self.recipe.fixed_size

    @property
    def largest_size(self) -> tuple[int, int] | None:
        """The largest size (height, width) of images that the body takes, None for any."""
        return self.recipe.largest_size

    @property
    def size_multiple(self) -> int:
        """Of what the sides of images must be multiples for the body, besides the strides; a power of two."""
        return self.recipe.multiple

    def body_shape(self, batch: int = 1) -> tuple[int, int, int, int]:
        """Return a shape (B, C, H, W) that the body takes."""
        size = self.fixed_size or probes(self.size_multiple)[0]
        return batch, self.in_channels, *scaled(size, self.recipe.scale)

    def forward(self, images: Tensor) -> list[Tensor]:
        features = zip(self.levels, self.body(self._resized(images)), strict=True)
        maps = {level.reduction: x if level.exact else _regrid(x, images, level.reduction) for level, x in features}
        if self.upsample is not None:
            finest = self.levels[0].reduction
            maps[finest // 2] = self.upsample(maps[finest])
        for reduction in self.reductions:
            if reduction not in maps:
                maps[reduction] = F.max_pool2d(maps[max(maps)], reduction // max(maps))
        return [maps[reduction] for reduction in self.reductions]

    def _resized(self, images: Tensor) -> Tensor:
        size = tuple(images.shape[-2:])
        if self.fixed_size and size != self.fixed_size:
            raise _wrong_size(f"images of {_text(self.fixed_size)}", size, self.fixed_size)
        if self.largest_size and any(side > limit for side, limit in zip(size, self.largest_size, strict=True)):
            raise _wrong_size(f"images of up to {_text(self.largest_size)}", size, self.largest_size)
        scale = self.recipe.scale
        if scale == 1:
            return images
        return F.interpolate(images, size=scaled(size, scale), mode="bilinear", align_corners=False)

    @torch.no_grad()
    def fuse(self) -> None:
        """Re-parameterise the body for inference, in place."""
        if not self._is_fused:
            self._fuse_body(self.body, self.body_shape())
        self._is_fused = True


def _wrong_size(wanted: str, size: tuple[int, int], built: tuple[int, int]) -> ConfigError:
    return ConfigError(
        f"this backbone was built for {wanted}, not {_text(size)}",
        f"use --imgsz {max(built)}, or build it for another size with the backbone option img_size in the model YAML",
    )


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _regrid(feature: Tensor, images: Tensor, reduction: int) -> Tensor:
    size = [side // reduction for side in images.shape[-2:]]
    return F.interpolate(feature, size=size, mode="bilinear", align_corners=False)
