"""Bottlenecks and the cross-stage partial blocks around them.

Paper: CSPNet: A New Backbone that can Enhance Learning Capability of CNN, https://arxiv.org/abs/1911.11929
"""

import torch
from torch import Tensor, nn

from models.layers.conv import Conv, Size
from models.layers.reparam import fold_concat_bn, fuse_submodules
from models.registry import YOLOV8_LAYERS, register_layer


@register_layer("conv", name="Bottleneck", table=YOLOV8_LAYERS)
class KernelBottleneck(nn.Module):
    """Two Convs of the given kernels, with a residual if asked for and the channels allow it."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        shortcut: bool = True,
        groups: int = 1,
        kernels: tuple[Size, Size] = (3, 3),
        expansion: float = 0.5,
    ) -> None:
        super().__init__()
        hidden = int(out_channels * expansion)
        self.cv1 = Conv(in_channels, hidden, kernels[0], 1)
        self.cv2 = Conv(hidden, out_channels, kernels[1], 1, groups=groups)
        self.add = shortcut and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


@register_layer("conv")
class Bottleneck(KernelBottleneck):
    """1×1 then 3×3 Conv, with a residual if asked for and the channels allow it."""

    def __init__(
        self, in_channels: int, out_channels: int, shortcut: bool = True, groups: int = 1, expansion: float = 0.5
    ) -> None:
        super().__init__(in_channels, out_channels, shortcut, groups, (1, 3), expansion)


@register_layer("conv")
class CrossConv(nn.Module):
    """1×k then k×1 Conv, with a residual if asked for and the channels allow it."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        expansion: float = 1.0,
        shortcut: bool = False,
    ) -> None:
        super().__init__()
        hidden = int(out_channels * expansion)
        self.cv1 = Conv(in_channels, hidden, (1, kernel), (1, stride))
        self.cv2 = Conv(hidden, out_channels, (kernel, 1), (stride, 1), groups=groups)
        self.add = shortcut and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


@register_layer("csp")
class BottleneckCSP(nn.Module):
    """The CSP block of the paper: both halves meet before one norm; its own activation is always SiLU."""

    block: type[KernelBottleneck] = Bottleneck

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        repeats: int = 1,
        shortcut: bool = True,
        groups: int = 1,
        expansion: float = 0.5,
    ) -> None:
        super().__init__()
        hidden = int(out_channels * expansion)
        self.cv1 = Conv(in_channels, hidden, 1, 1)
        self.cv2 = nn.Conv2d(in_channels, hidden, 1, bias=False)
        self.cv3 = nn.Conv2d(hidden, hidden, 1, bias=False)
        self.cv4 = Conv(2 * hidden, out_channels, 1, 1)
        self.bn: nn.Module = nn.BatchNorm2d(2 * hidden)
        self.act = nn.SiLU()
        blocks = (self.block(hidden, hidden, shortcut, groups, expansion=1.0) for _ in range(repeats))
        self.m = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        halves = (self.cv3(self.m(self.cv1(x))), self.cv2(x))
        return self.cv4(self.act(self.bn(torch.cat(halves, dim=1))))

    def fuse(self) -> None:
        """Fold the norm over both halves into the convolutions that feed it."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.cv3, self.cv2 = fold_concat_bn([self.cv3, self.cv2], self.bn)
            self.bn = nn.Identity()
        fuse_submodules(self)


@register_layer("csp", name="BottleneckCSP", table=YOLOV8_LAYERS)
class KernelBottleneckCSP(BottleneckCSP):
    """The same around two 3×3 Convs."""

    block = KernelBottleneck


class CSPBlock(nn.Module):
    """What the C3 family shares: half of the channels pass through ``m``, which a subclass makes, half around it."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        repeats: int = 1,
        shortcut: bool = True,
        groups: int = 1,
        expansion: float = 0.5,
    ) -> None:
        super().__init__()
        hidden = int(out_channels * expansion)
        self.cv1 = Conv(in_channels, hidden, 1, 1)
        self.cv2 = Conv(in_channels, hidden, 1, 1)
        self.cv3 = Conv(2 * hidden, out_channels, 1)
        self.m = self.inner(hidden, repeats, shortcut, groups)

    def inner(self, width: int, repeats: int, shortcut: bool, groups: int) -> nn.Module:
        """Return what half of the channels pass through, (B, width, H, W) → the same."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), dim=1))


@register_layer("csp")
class C3(CSPBlock):
    """CSP block of bottlenecks."""

    def inner(self, width: int, repeats: int, shortcut: bool, groups: int) -> nn.Module:
        return nn.Sequential(*(Bottleneck(width, width, shortcut, groups, 1.0) for _ in range(repeats)))


@register_layer("csp")
class C3x(CSPBlock):
    """CSP block of cross convolutions."""

    def inner(self, width: int, repeats: int, shortcut: bool, groups: int) -> nn.Module:
        return nn.Sequential(*(CrossConv(width, width, 3, 1, groups, 1.0, shortcut) for _ in range(repeats)))
