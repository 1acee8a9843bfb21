"""Spatial pyramid pooling: one map seen through windows of several sizes.

Paper: Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition, https://arxiv.org/abs/1406.4729
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.layers.conv import Conv
from models.layers.csp import CSPBlock
from models.registry import register_layer


@register_layer("conv")
class SPP(nn.Module):
    """Max pools of the given kernels side by side; the size of the map stays."""

    def __init__(self, in_channels: int, out_channels: int, kernels: Sequence[int] = (5, 9, 13)) -> None:
        super().__init__()
        hidden = in_channels // 2
        self.cv1 = Conv(in_channels, hidden, 1, 1)
        self.cv2 = Conv(hidden * (len(kernels) + 1), out_channels, 1, 1)
        self.m = nn.ModuleList(nn.MaxPool2d(k, stride=1, padding=k // 2) for k in kernels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cv1(x)
        return self.cv2(torch.cat([x, *(pool(x) for pool in self.m)], dim=1))


@register_layer("conv")
class SPPF(nn.Module):
    """SPP with kernels k, 2k − 1, 3k − 2 … as a chain of ``repeats`` k×k pools: the same values for less work.

    A row that says ``repeats`` (YOLO26 does) has no activation behind its first convolution; without, there are three.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 5,
        repeats: int | None = None,
        shortcut: bool = False,
    ) -> None:
        super().__init__()
        hidden = in_channels // 2
        self.repeats = 3 if repeats is None else repeats
        self.cv1 = Conv(in_channels, hidden, 1, 1, act=repeats is None)
        self.cv2 = Conv((self.repeats + 1) * hidden, out_channels, 1, 1)
        self.m = nn.MaxPool2d(kernel, stride=1, padding=kernel // 2)
        self.add = shortcut and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.cv1(x)]
        for _ in range(self.repeats):
            maps.append(self.m(maps[-1]))
        y = self.cv2(torch.cat(maps, dim=1))
        return x + y if self.add else y


@register_layer("conv")
class C3SPP(CSPBlock):
    """CSP block around SPP; ``repeats``, ``shortcut`` and ``groups`` are places that community YAMLs fill, unused."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernels: Sequence[int] = (5, 9, 13),
        repeats: int = 1,
        shortcut: bool = True,
        groups: int = 1,
        expansion: float = 0.5,
    ) -> None:
        super().__init__(in_channels, out_channels, repeats, shortcut, groups, expansion)
        hidden = int(out_channels * expansion)
        self.m = SPP(hidden, hidden, kernels)

    def inner(self, width: int, repeats: int, shortcut: bool, groups: int) -> nn.Module:
        return nn.Identity()  # which kernels is not known yet
