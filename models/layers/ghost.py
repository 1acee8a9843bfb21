"""Ghost convolutions: half of the channels are computed, the other half derived from them by a cheap depthwise one.

Paper: GhostNet: More Features from Cheap Operations, https://arxiv.org/abs/1911.11907
"""

import torch
from torch import Tensor, nn

from models.layers.conv import Activation, Conv, DWConv
from models.layers.csp import CSPBlock
from models.registry import register_layer


@register_layer("conv")
class GhostConv(nn.Module):
    """A Conv of half the width, and a 5×5 depthwise Conv of its output, side by side."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: Activation = True,
    ) -> None:
        super().__init__()
        hidden = out_channels // 2
        self.cv1 = Conv(in_channels, hidden, kernel, stride, None, groups, act=act)
        self.cv2 = Conv(hidden, hidden, 5, 1, None, hidden, act=act)

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv1(x)
        return torch.cat((y, self.cv2(y)), dim=1)


@register_layer("conv")
class GhostBottleneck(nn.Module):
    """Two ghost convolutions with a residual; at stride 2 a depthwise convolution stands between them."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        hidden = out_channels // 2
        self.conv = nn.Sequential(
            GhostConv(in_channels, hidden, 1, 1),
            DWConv(hidden, hidden, kernel, stride, act=False) if stride == 2 else nn.Identity(),
            GhostConv(hidden, out_channels, 1, 1, act=False),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2:
            self.shortcut = nn.Sequential(
                DWConv(in_channels, in_channels, kernel, stride, act=False),
                Conv(in_channels, out_channels, 1, 1, act=False),
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + self.shortcut(x)


@register_layer("csp")
class C3Ghost(CSPBlock):
    """CSP block of ghost bottlenecks; ``shortcut`` and ``groups`` keep the places of C3's arguments."""

    def inner(self, width: int, repeats: int, shortcut: bool, groups: int) -> nn.Module:
        return nn.Sequential(*(GhostBottleneck(width, width) for _ in range(repeats)))
