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
    """SPP with kernels k, 2k − 1 and 3k − 2 as a chain of k×k pools: the same values for less work."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 5) -> None:
        super().__init__()
        hidden = in_channels // 2
        self.cv1 = Conv(in_channels, hidden, 1, 1)
        self.cv2 = Conv(4 * hidden, out_channels, 1, 1)
        self.m = nn.MaxPool2d(kernel, stride=1, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.cv1(x)]
        for _ in range(3):
            maps.append(self.m(maps[-1]))
        return self.cv2(torch.cat(maps, dim=1))


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
        super().__init__(in_channels, out_channels, expansion)
        self.m = SPP(self.hidden, self.hidden, kernels)
