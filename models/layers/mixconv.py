"""Depthwise convolutions of several kernel sizes side by side.

Paper: MixConv: Mixed Depthwise Convolutional Kernels, https://arxiv.org/abs/1907.09595
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from models.layers.reparam import fold_concat_bn
from models.registry import register_layer


def equal_shares(channels: int, parts: int) -> list[int]:
    """Split channels into parts as equal as possible."""
    owner = Counter(np.floor(np.linspace(0, parts - 1e-6, channels)).astype(int).tolist())
    return [owner[part] for part in range(parts)]


def equal_weight_shares(channels: int, kernels: Sequence[int]) -> list[int]:
    """Split channels in inverse proportion to k², so that every kernel size has about as many weights."""
    inverse = [1 / k**2 for k in kernels]
    shares = [round(channels * part / sum(inverse)) for part in inverse]
    shares[shares.index(max(shares))] += channels - sum(shares)  # rounding
    return shares


@register_layer("conv")
class MixConv2d(nn.Module):
    """Grouped convolutions of the given kernels, concatenated, then norm and SiLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernels: Sequence[int] = (1, 3),
        stride: int = 1,
        equal_channels: bool = True,
    ) -> None:
        super().__init__()
        shares = (
            equal_shares(out_channels, len(kernels)) if equal_channels else equal_weight_shares(out_channels, kernels)
        )
        self.m = nn.ModuleList(
            nn.Conv2d(in_channels, share, k, stride, k // 2, groups=math.gcd(in_channels, share), bias=False)
            for share, k in zip(shares, kernels, strict=True)
        )
        self.bn: nn.Module = nn.BatchNorm2d(out_channels)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(torch.cat([conv(x) for conv in self.m], dim=1)))

    def fuse(self) -> None:
        """Fold the norm into the convolutions that feed it."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.m = nn.ModuleList(fold_concat_bn(list(self.m), self.bn))
            self.bn = nn.Identity()
