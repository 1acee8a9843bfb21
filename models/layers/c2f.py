"""Cross-stage blocks with one 1×1 convolution before the halves part: C2f joins what every block returns.

Paper: CSPNet: A New Backbone that can Enhance Learning Capability of CNN, https://arxiv.org/abs/1911.11929

All map (B, in_channels, H, W) → (B, out_channels, H, W).
"""

import torch
from torch import Tensor, nn

from models.layers.conv import Conv
from models.layers.csp import KernelBottleneck
from models.registry import register_layer


class HalvesBlock(nn.Module):
    """The convolutions of the family: into two halves of ``hidden`` channels, and out of ``parts`` as wide."""

    def __init__(self, in_channels: int, out_channels: int, parts: int, expansion: float) -> None:
        super().__init__()
        self.hidden = int(out_channels * expansion)
        self.cv1 = Conv(in_channels, 2 * self.hidden, 1, 1)
        self.cv2 = Conv(parts * self.hidden, out_channels, 1, 1)

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return two maps (B, hidden, H, W)."""
        first, second = self.cv1(x).split(self.hidden, dim=1)
        return first, second

    def bottleneck(self, shortcut: bool, groups: int) -> KernelBottleneck:
        """Return a block of two 3×3 Convs as wide as a half."""
        return KernelBottleneck(self.hidden, self.hidden, shortcut, groups, expansion=1.0)


class C2fBlock(HalvesBlock):
    """What the C2f family shares: both halves and the output of each block of ``m``, which a subclass sets."""

    def __init__(self, in_channels: int, out_channels: int, repeats: int, expansion: float) -> None:
        super().__init__(in_channels, out_channels, 2 + repeats, expansion)

    def forward(self, x: Tensor) -> Tensor:
        maps = [*self.halves(x)]
        for block in self.m:
            maps.append(block(maps[-1]))
        return self.cv2(torch.cat(maps, dim=1))


@register_layer("csp")
class C2f(C2fBlock):
    """C2f block of bottlenecks."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        repeats: int = 1,
        shortcut: bool = False,
        groups: int = 1,
        expansion: float = 0.5,
    ) -> None:
        super().__init__(in_channels, out_channels, repeats, expansion)
        self.m = nn.ModuleList(self.bottleneck(shortcut, groups) for _ in range(repeats))


@register_layer("csp")
class C2(HalvesBlock):
    """The first half goes through bottlenecks, the second around them."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        repeats: int = 1,
        shortcut: bool = True,
        groups: int = 1,
        expansion: float = 0.5,
    ) -> None:
        super().__init__(in_channels, out_channels, 2, expansion)
        self.m = nn.Sequential(*(self.bottleneck(shortcut, groups) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.halves(x)
        return self.cv2(torch.cat((self.m(first), second), dim=1))


@register_layer("csp")
class C1(nn.Module):
    """A 1×1 Conv, then 3×3 Convs with one residual around them all."""

    def __init__(self, in_channels: int, out_channels: int, repeats: int = 1) -> None:
        super().__init__()
        self.cv1 = Conv(in_channels, out_channels, 1, 1)
        self.m = nn.Sequential(*(Conv(out_channels, out_channels, 3) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv1(x)
        return self.m(y) + y
