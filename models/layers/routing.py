"""Layers without weights: join maps, and trade resolution for channels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.registry import register_layer


@register_layer("concat")
class Concat(nn.Module):
    """Join maps along ``dim``, normally the channels."""

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.d = dim

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return torch.cat(tuple(maps), self.d)


@register_layer("contract")
class Contract(nn.Module):
    """(B, C, H, W) → (B, C·g², H/g, W/g); channels ordered by row offset, column offset, old channel."""

    def __init__(self, gain: int = 2) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        g = self.gain
        x = x.reshape(b, c, h // g, g, w // g, g).permute(0, 3, 5, 1, 2, 4)  # (B, row, column, C, H/g, W/g)
        return x.reshape(b, c * g * g, h // g, w // g)


@register_layer("expand")
class Expand(nn.Module):
    """(B, C, H, W) → (B, C/g², H·g, W·g), the inverse of Contract."""

    def __init__(self, gain: int = 2) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        g = self.gain
        x = x.reshape(b, g, g, c // g**2, h, w).permute(0, 3, 4, 1, 5, 2)  # (B, C/g², H, row, W, column)
        return x.reshape(b, c // g**2, h * g, w * g)
