"""C2f blocks whose parts are narrow bottlenecks, C3 blocks of 3×3 Convs, or bottlenecks with attention.

Paper: CSPNet: A New Backbone that can Enhance Learning Capability of CNN, https://arxiv.org/abs/1911.11929
"""

from torch import nn

from models.layers.c2f import C2fBlock
from models.layers.csp import CSPBlock, KernelBottleneck
from models.layers.psa import PSABlock, heads_for
from models.registry import register_layer

BLOCKS_OF_C3K = 2  # in each part of a C3k2 that is a C3k


@register_layer("csp")
class C3k(CSPBlock):
    """CSP block of bottlenecks with two 3×3 Convs."""

    def inner(self, width: int, repeats: int, shortcut: bool, groups: int) -> nn.Module:
        blocks = (KernelBottleneck(width, width, shortcut, groups, expansion=1.0) for _ in range(repeats))
        return nn.Sequential(*blocks)


@register_layer("c3k2")
class C3k2(C2fBlock):
    """C2f block of C3k if ``c3k``, else of bottlenecks that are narrower inside, with attention behind if asked for."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        repeats: int = 1,
        c3k: bool = False,
        expansion: float = 0.5,
        attention: bool = False,
        groups: int = 1,
        shortcut: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, repeats, expansion)
        width = self.hidden

        def block() -> nn.Module:
            if c3k and not attention:
                return C3k(width, width, BLOCKS_OF_C3K, shortcut, groups)
            bottleneck = KernelBottleneck(width, width, shortcut, groups)
            return nn.Sequential(bottleneck, PSABlock(width, heads=heads_for(width))) if attention else bottleneck

        self.m = nn.ModuleList(block() for _ in range(repeats))
