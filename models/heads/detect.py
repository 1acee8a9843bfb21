"""The anchor-based head of YOLOv5: one 1×1 convolution per level, and the decoding of its maps."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.heads._autoanchor import check_anchors
from models.registry import register_layer
from utils.cells import cell_positions
from utils.errors import ConfigError
from utils.predictions import BN5C

log = logging.getLogger(__name__)

REFERENCE_SIZE = 640  # px; the prior of the objectness assumes eight objects in an image of this size
DEFAULT_EXTENT = 4  # cells; side of the anchors of a model whose YAML gives only their number


@register_layer("head")
class Detect(nn.Module):
    """Maps (B, A, H/s, W/s, 5 + nc) of each level, which ``decode`` turns into predictions.

    ``anchors``: per level [w0, h0, w1, h1, …] in pixels, or the number of anchors per level. The buffer of that name is
    (L, A, 2) in grid units, valid once ``attach`` has told the strides.
    """

    layout = BN5C
    fitted = ("anchors",)  # tensors that ``fit`` may set

    def __init__(self, nc: int, anchors: Sequence[Sequence[float]] | int, in_channels: Sequence[int]) -> None:
        super().__init__()
        self.nc = nc
        self.no = self.layout.channels(nc)  # outputs per anchor
        self.nl = len(in_channels)
        self.na = anchors if isinstance(anchors, int) else len(anchors[0]) // 2
        if not isinstance(anchors, int) and len(anchors) != self.nl:
            raise ConfigError(
                f"{len(anchors)} rows of anchors for {self.nl} levels", "give one row of 'anchors' per level of Detect"
            )
        self.pixel_anchors = anchors
        self.m = nn.ModuleList(nn.Conv2d(channels, self.no * self.na, 1) for channels in in_channels)
        self.register_buffer("anchors", torch.zeros(self.nl, self.na, 2))
        self.register_buffer("stride", torch.zeros(self.nl), persistent=False)

    @torch.no_grad()
    def attach(self, strides: Sequence[int]) -> None:
        """Take the stride of each level: sets ``stride``, ``anchors`` and the prior of the biases, in place."""
        self.stride.copy_(torch.tensor(strides))
        self.anchors.copy_(torch.tensor(self._grid_anchors(strides)).view_as(self.anchors))
        for conv, stride in zip(self.m, strides, strict=True):
            bias = conv.bias.view(self.na, self.no)
            bias[:, 4] += math.log(8 / (REFERENCE_SIZE / stride) ** 2)
            bias[:, 5:] += math.log(0.6 / (self.nc - 0.99999))

    def _grid_anchors(self, strides: Sequence[int]) -> list[list[float]]:
        if isinstance(self.pixel_anchors, int):
            return [default_anchors(self.na)] * self.nl
        areas = [sum(w * h for w, h in zip(row[::2], row[1::2], strict=True)) for row in self.pixel_anchors]
        rows = self.pixel_anchors
        if (areas[-1] - areas[0]) * (strides[-1] - strides[0]) < 0:
            log.info("anchors reversed: the level of stride %d now has the largest", max(strides))
            rows = rows[::-1]
        return [[value / stride for value in row] for row, stride in zip(rows, strides, strict=True)]

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        return [self._split(conv(x)) for conv, x in zip(self.m, features, strict=True)]

    @torch.no_grad()
    def fit(self, sizes: np.ndarray, imgsz: int, hyp: Mapping[str, Any], rng: np.random.Generator) -> None:
        """Replace the anchors, in place, where they cover boxes of ``sizes`` (T, 2), in pixels, poorly."""
        strides = self.stride.view(-1, 1, 1).to(self.anchors)
        pixels = self.anchors * strides
        found = check_anchors(sizes, pixels.reshape(-1, 2).cpu().double().numpy(), imgsz, hyp["anchor_t"], rng)
        if found is not None:
            by_level = torch.from_numpy(found).view_as(pixels).to(pixels)
            self.anchors.copy_((by_level.flip(0) if strides[0] > strides[-1] else by_level) / strides)

    @torch.no_grad()
    def take_classes(self, state: Mapping[str, Tensor], nc: int, pairs: Sequence[tuple[int, int]]) -> bool:
        """Copy boxes, objectness and the classes ``pairs`` (theirs, ours) from the ``state`` of a head for ``nc``."""
        first, rows = self.layout.channels(0), self.layout.channels(nc)
        theirs, ours = torch.tensor(pairs, dtype=torch.long).view(-1, 2).T + first
        own = {f"m.{key}": value for key, value in self.m.state_dict().items()}
        if any(key not in state or state[key].shape != (self.na * rows, *own[key].shape[1:]) for key in own):
            return False
        for key, value in own.items():
            value = value.view(self.na, self.no, -1)  # (A, 5 + nc, …)
            other = state[key].to(value).view(self.na, rows, -1)
            value[:, :first] = other[:, :first]
            value[:, ours] = other[:, theirs]
        return True

    def _split(self, x: Tensor) -> Tensor:
        """View (B, A·no, H, W) as (B, A, H, W, no)."""
        batch, _, height, width = x.shape
        return x.view(batch, self.na, self.no, height, width).permute(0, 1, 3, 4, 2)

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """Return (B, N, 5 + nc): cxcywh in input pixels, then probabilities; rows by level, anchor, y, x.

        At least float32: in half precision a large coordinate would be off by pixels.
        """
        rows = []
        for x, anchors, stride in zip(maps, self.anchors.unbind(), self.stride.unbind(), strict=True):
            y = x.to(torch.promote_types(x.dtype, torch.float32)).sigmoid()
            xy, wh, scores = y.split((2, 2, self.no - 4), dim=-1)
            xy = (2 * xy + _cells(y)) * stride
            wh = (2 * wh) ** 2 * (anchors * stride).view(1, self.na, 1, 1, 2)
            rows.append(torch.cat((xy, wh, scores), dim=-1).flatten(1, 3))
        return torch.cat(rows, dim=1)


def _cells(maps: Tensor) -> Tensor:
    """Return (H, W, 2): x and y, in cells, to which the offsets 0 … 2 of each cell of (B, A, H, W, …) are added."""
    _, _, height, width, _ = maps.shape
    return torch.stack(cell_positions(height, width, -0.5, maps.device, maps.dtype), dim=-1)


def default_anchors(count: int) -> list[float]:
    """Return [w0, h0, …] in grid units: one area, aspect ratios spread evenly from 1:2 to 2:1."""
    exponents = [2 * i / (count - 1) - 1 if count > 1 else 0 for i in range(count)]
    return [side for e in exponents for side in (DEFAULT_EXTENT * 2 ** (e / 2), DEFAULT_EXTENT * 2 ** (-e / 2))]
