"""RepViT, a MobileNet block rearranged after the vision transformers; its branches become one convolution.

Paper: RepViT: Revisiting Mobile CNN From ViT Perspective, https://arxiv.org/abs/2307.09283

Input (B, 3, H, W), H and W multiples of 32; returns four maps, fine to coarse, widths of ``repvit_m0_9``:

    P2 (B, 48, H/4, W/4)   P3 (B, 96, H/8, W/8)   P4 (B, 192, H/16, W/16)   P5 (B, 384, H/32, W/32)

``repvit_m1``, ``m2`` and ``m3`` are the release of July 2023, whose token mixer normalises each branch for itself; the
others normalise the sum. Official files of either kind load into the later structure, see ``to_current_structure``.
"""

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.backbones._options import choose, select_reductions
from models.layers.reparam import conv_like, fold_bn
from models.registry import adamw, register_backbone

THU_RELEASE = "https://github.com/THU-MIG/RepViT/releases/download/v1.0"
LEGACY_RELEASE = "https://github.com/jameslahm/RepViT/releases/download/v1.0"


class ConvBN(nn.Sequential):
    """Bias-free k×k convolution ``c``, padded to keep the size, and batch norm ``bn``."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def fused(self) -> nn.Conv2d:
        """Return the one convolution that this is in eval mode."""
        return fold_bn(self.c, self.bn)


class RepDepthwise(nn.Module):
    """Depthwise mixing of three branches, BN(ConvBN3×3(x) + Conv1×1(x) + x); one 3×3 convolution when fused."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = ConvBN(channels, channels, 3, groups=channels)
        self.conv1 = nn.Conv2d(channels, channels, 1, groups=channels)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.conv(x)
        mixed += self.conv1(x)  # in place: nobody else holds the sum, and the map of /4 is large
        mixed += x
        return self.bn(mixed)

    @torch.no_grad()
    def fused(self) -> nn.Conv2d:
        """Return the one convolution that this is in eval mode."""
        dense = self.conv.fused()
        weight = dense.weight + F.pad(self.conv1.weight + 1, (1, 1, 1, 1))
        return fold_bn(conv_like(dense, weight, dense.bias + self.conv1.bias), self.bn)


class LegacyRepDepthwise(nn.Module):
    """The mixing of m1, m2 and m3: ConvBN3×3(x) + ConvBN1×1(x) + x, without a norm of the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = ConvBN(channels, channels, 3, groups=channels)
        self.conv1 = ConvBN(channels, channels, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.conv(x)
        mixed += self.conv1(x)
        mixed += x
        return mixed

    @torch.no_grad()
    def fused(self) -> nn.Conv2d:
        """Return the one convolution that this is in eval mode."""
        dense, pointwise = self.conv.fused(), self.conv1.fused()
        weight = dense.weight + F.pad(pointwise.weight + 1, (1, 1, 1, 1))
        return conv_like(dense, weight, dense.bias + pointwise.bias)


class SqueezeExcite(nn.Module):
    """Channel gate from the global mean; the reduced width is a quarter, rounded to multiples of 8."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = max(8, (channels // 4 + 4) // 8 * 8)
        self.fc1 = nn.Conv2d(channels, reduced, 1)
        self.fc2 = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


class ChannelMixer(nn.Module):
    """Residual 1×1 expansion to twice the width; starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.m = nn.Sequential(ConvBN(channels, 2 * channels), nn.GELU(), ConvBN(2 * channels, channels))
        nn.init.zeros_(self.m[2].bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.m(x)


class Block(nn.Module):
    """Token mixer, then channel mixer; both keep the size (Sec. 3.2)."""

    def __init__(self, channels: int, gated: bool, legacy: bool) -> None:
        super().__init__()
        mixing = LegacyRepDepthwise if legacy else RepDepthwise
        self.token_mixer = nn.Sequential(mixing(channels), SqueezeExcite(channels) if gated else nn.Identity())
        self.channel_mixer = ChannelMixer(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.channel_mixer(self.token_mixer(x))


class Downsample(nn.Module):
    """Halve the size with a depthwise convolution, widen with a 1×1, then mix channels (Sec. 3.3)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.token_mixer = nn.Sequential(
            ConvBN(in_channels, in_channels, 3, stride=2, groups=in_channels),
            nn.Identity(),  # a place in the official keys; no published variant has a gate here
            ConvBN(in_channels, out_channels),
        )
        self.channel_mixer = ChannelMixer(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.channel_mixer(self.token_mixer(x))


class RepViT(nn.Module):
    """Four stages of ``depths`` blocks, every second one gated; all but the last stage end in one more, ungated block.

    ``taps`` says which map stands for a level: ``"last"``, the last one of its size, as in segmentation and in the
    tutorials, or ``"pre"``, the one before that extra block, as in the official detectors and in timm.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        *,
        legacy: bool = False,
        reductions: Iterable[int] | None = None,
        in_channels: int = 3,
        taps: str = "last",
    ) -> None:
        super().__init__()
        levels = (4, 8, 16, 32)
        self.reductions = select_reductions(levels, reductions)
        self.feature_channels = [widths[levels.index(r)] for r in self.reductions]
        taps = choose("taps", taps, ("last", "pre"))

        stem = (ConvBN(in_channels, widths[0] // 2, 3, 2), nn.GELU(), ConvBN(widths[0] // 2, widths[0], 3, 2))
        blocks: list[nn.Module] = [nn.Sequential(*stem)]
        self.taps = []  # index of the block whose output is the level
        for stage in range(levels.index(self.reductions[-1]) + 1):
            width = widths[stage]
            if stage > 0:
                blocks.append(Downsample(widths[stage - 1], width))
            blocks += [Block(width, gated=i % 2 == 0, legacy=legacy) for i in range(depths[stage])]
            before_extra = len(blocks) - 1
            if stage < 3:
                blocks.append(Block(width, gated=False, legacy=legacy))
            if levels[stage] in self.reductions:
                self.taps.append(before_extra if taps == "pre" else len(blocks) - 1)
        self.features = nn.ModuleList(blocks[: self.taps[-1] + 1])

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for index, block in enumerate(self.features):
            x = block(x)
            if index in self.taps:
                maps.append(x)
        return maps

    def fuse(self) -> None:
        """Put one convolution with bias in the place of every normalised or branched one."""
        fuse_branches(self)


def fuse_branches(module: nn.Module) -> None:
    """Replace, in place, every descendant that can be one convolution; outer ones first, for they hold inner ones."""
    for name, child in module.named_children():
        if isinstance(child, ConvBN | RepDepthwise | LegacyRepDepthwise):
            setattr(module, name, child.fused())
        else:
            fuse_branches(child)


def to_current_structure(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Return ``state`` with legacy token mixers rewritten, exactly for eval mode, where ``module`` has current ones.

    The norm of the 1×1 branch goes into its convolution; the norm of the sum becomes the identity.
    """
    eps = 1e-5  # of every norm in both structures
    wanted = module.state_dict().keys()
    mixers = [key.removesuffix(".conv1.c.weight") for key in state if key.endswith(".conv1.c.weight")]
    converted = dict(state)
    for mixer in mixers:
        if f"{mixer}.conv1.weight" not in wanted:
            continue
        prefix = f"{mixer}.conv1."
        branch = {key.removeprefix(prefix): converted.pop(key) for key in state if key.startswith(prefix)}
        scale = branch["bn.weight"] / torch.sqrt(branch["bn.running_var"] + eps)
        converted[f"{mixer}.conv1.weight"] = branch["c.weight"] * scale.view(-1, 1, 1, 1)
        converted[f"{mixer}.conv1.bias"] = branch["bn.bias"] - branch["bn.running_mean"] * scale
        converted[f"{mixer}.bn.weight"] = torch.full_like(scale, math.sqrt(1 + eps))
        converted[f"{mixer}.bn.bias"] = converted[f"{mixer}.bn.running_mean"] = torch.zeros_like(scale)
        converted[f"{mixer}.bn.running_var"] = torch.ones_like(scale)
        converted[f"{mixer}.bn.num_batches_tracked"] = torch.tensor(0)
    return converted


register_legacy = partial(register_backbone, head_prefixes=("classifier.",), recipe=adamw(0.05))
register_current = partial(register_legacy, convert=to_current_structure)


@register_legacy(aliases=("RepViT-M1",), url=f"{LEGACY_RELEASE}/repvit_m1_distill_300.pth")
def repvit_m1(**options: Any) -> RepViT:
    """4.7 M parameters without the classifier, 78.5 % top-1; as wide and deep as m0_9."""
    return RepViT((48, 96, 192, 384), (2, 2, 14, 2), legacy=True, **options)


@register_legacy(aliases=("RepViT-M2",), url=f"{LEGACY_RELEASE}/repvit_m2_distill_300.pth")
def repvit_m2(**options: Any) -> RepViT:
    """7.8 M, 80.6 %; as wide and deep as m1_1."""
    return RepViT((64, 128, 256, 512), (2, 2, 12, 2), legacy=True, **options)


@register_legacy(aliases=("RepViT-M3",), url=f"{LEGACY_RELEASE}/repvit_m3_distill_300.pth")
def repvit_m3(**options: Any) -> RepViT:
    """9.7 M, 81.4 %; as wide as m1_1, deeper."""
    return RepViT((64, 128, 256, 512), (4, 4, 18, 2), legacy=True, **options)


@register_current(aliases=("RepViT-M0.6", "RepViT"), url=f"{THU_RELEASE}/repvit_m0_6_distill_300e.pth")
def repvit_m0_6(**options: Any) -> RepViT:
    """2.2 M, 74.1 %."""
    return RepViT((40, 80, 160, 320), (1, 1, 8, 1), **options)


@register_current(aliases=("RepViT-M0.9",), url=f"{THU_RELEASE}/repvit_m0_9_distill_450e.pth")
def repvit_m0_9(**options: Any) -> RepViT:
    """4.7 M, 79.1 %."""
    return RepViT((48, 96, 192, 384), (2, 2, 14, 2), **options)


@register_current(aliases=("RepViT-M1.0",), url=f"{THU_RELEASE}/repvit_m1_0_distill_450e.pth")
def repvit_m1_0(**options: Any) -> RepViT:
    """6.4 M, 80.3 %."""
    return RepViT((56, 112, 224, 448), (2, 2, 14, 2), **options)


@register_current(aliases=("RepViT-M1.1",), url=f"{THU_RELEASE}/repvit_m1_1_distill_450e.pth")
def repvit_m1_1(**options: Any) -> RepViT:
    """7.8 M, 81.2 %."""
    return RepViT((64, 128, 256, 512), (2, 2, 12, 2), **options)


@register_current(aliases=("RepViT-M1.5",), url=f"{THU_RELEASE}/repvit_m1_5_distill_450e.pth")
def repvit_m1_5(**options: Any) -> RepViT:
    """13.6 M, 82.5 %."""
    return RepViT((64, 128, 256, 512), (4, 4, 24, 4), **options)


@register_current(aliases=("RepViT-M2.3",), url=f"{THU_RELEASE}/repvit_m2_3_distill_450e.pth")
def repvit_m2_3(**options: Any) -> RepViT:
    """22.4 M, 83.7 %."""
    return RepViT((80, 160, 320, 640), (6, 6, 34, 2), **options)
