"""RepVGG, a plain stack of 3×3 convolutions that trains with two more branches in every block.

Paper: RepVGG: Making VGG-style ConvNets Great Again, https://arxiv.org/abs/2101.03697

Input (B, 3, H, W), H and W multiples of 32; returns five maps, fine to coarse, widths of ``repvgg_a0``:

    P1 (B, 48, H/2, W/2)   P2 (B, 48, H/4, W/4)   P3 (B, 96, H/8, W/8)
    P4 (B, 192, H/16, W/16)   P5 (B, 1280, H/32, W/32)

Weight files in deployment form (``rbr_reparam``) are refused: their branches cannot be recovered, so they cannot be
trained on; ``fuse`` makes that form from a training file.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.backbones._levels import select_reductions
from models.layers.reparam import bn_scale_shift, conv_like, fold_bn, fuse_submodules
from models.registry import register_backbone
from utils.errors import CheckpointError


class ThinPointwise(nn.Conv2d):
    """Strided 1×1 convolution of fewer than 16 channels, which leaves out pixels before the convolution sees them.

    Left to oneDNN, its weight gradient in channels_last and float32 writes outside its memory, so that the process dies
    (PyTorch 2.15, a CPU with AVX-512).
    """

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.stride
        return F.conv2d(x[:, :, ::rows, ::columns], self.weight)


class ConvBN(nn.Sequential):
    """Bias-free k×k convolution ``conv``, padded to keep the size, and batch norm ``bn``."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__()
        conv = ThinPointwise if kernel == 1 and stride > 1 and in_channels < 16 else nn.Conv2d
        self.conv = conv(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)


class SqueezeExcite(nn.Module):
    """Channel gate from the global mean."""

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, reduced, 1)
        self.up = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.up(F.relu(self.down(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


class RepVGGBlock(nn.Module):
    """ReLU of the sum of a 3×3, a 1×1 and, where the shape stays, an identity branch, each with its norm (Fig. 2)."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, groups: int = 1, gate: str | None = None
    ) -> None:
        super().__init__()
        self.rbr_dense = ConvBN(in_channels, out_channels, 3, stride, groups)
        self.rbr_1x1 = ConvBN(in_channels, out_channels, 1, stride, groups)
        keeps_shape = in_channels == out_channels and stride == 1
        self.rbr_identity = nn.BatchNorm2d(in_channels) if keeps_shape else None
        self.rbr_reparam: nn.Conv2d | None = None  # the branches as one convolution, after fuse()
        self.se = SqueezeExcite(out_channels, out_channels // 16) if gate == "before ReLU" else nn.Identity()
        self.nonlinearity = nn.ReLU(inplace=True)
        self.post_se = SqueezeExcite(out_channels, out_channels // 4) if gate == "after ReLU" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        mixed = self._sum_of_branches(x) if self.rbr_reparam is None else self.rbr_reparam(x)
        return self.post_se(self.nonlinearity(self.se(mixed)))

    def _sum_of_branches(self, x: Tensor) -> Tensor:
        mixed = self.rbr_dense(x)
        mixed += self.rbr_1x1(x)  # in place: nobody else holds the sum, and early maps are large
        if self.rbr_identity is not None:
            mixed += self.rbr_identity(x)
        return mixed

    @torch.no_grad()
    def fuse(self) -> None:
        """Replace the branches by one 3×3 convolution with bias (Sec. 3.3)."""
        if self.rbr_reparam is not None:
            return
        dense, pointwise = fold_bn(*self.rbr_dense), fold_bn(*self.rbr_1x1)
        weight = dense.weight + F.pad(pointwise.weight, (1, 1, 1, 1))  # (O, I/g, 3, 3)
        bias = dense.bias + pointwise.bias
        if self.rbr_identity is not None:
            scale, shift = bn_scale_shift(self.rbr_identity)
            output = torch.arange(len(scale), device=scale.device)
            weight[output, output % weight.shape[1], 1, 1] += scale  # a group sees only its own inputs
            bias += shift
        self.rbr_reparam = conv_like(dense, weight, bias)
        del self.rbr_dense, self.rbr_1x1, self.rbr_identity


class PlusStage(nn.Module):
    """Blocks of one size, as RepVGGplus names them."""

    def __init__(self, *blocks: RepVGGBlock) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class RepVGG(nn.Module):
    """A stem block and four stages of ``depths`` blocks, whose widths are 64, 128, 256, 512 times ``multipliers``.

    Every second block convolves in ``groups``. ``gated`` adds squeeze-and-excitation before the ReLU; ``plus`` adds it
    after the ReLU instead and halves the third stage, as RepVGGplus does.
    """

    def __init__(
        self,
        depths: tuple[int, ...],
        multipliers: tuple[float, ...],
        *,
        groups: int = 1,
        gated: bool = False,
        plus: bool = False,
        reductions: Iterable[int] | None = None,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        levels = (2, 4, 8, 16, 32)
        widths = [int(base * a) for base, a in zip((64, 128, 256, 512), multipliers, strict=True)]
        widths.insert(0, min(64, widths[0]))
        self.reductions = select_reductions(levels, reductions)
        self.feature_channels = [widths[levels.index(r)] for r in self.reductions]

        gate = "before ReLU" if gated else "after ReLU" if plus else None
        self.stage0 = RepVGGBlock(in_channels, widths[0], stride=2, gate=gate)
        tapped = ["stage0"]  # per level, the module whose output it is
        layer = 0
        for stage in range(1, levels.index(self.reductions[-1]) + 1):
            blocks = []
            for index in range(depths[stage - 1]):
                layer += 1
                inputs, stride = (widths[stage - 1], 2) if index == 0 else (widths[stage], 1)
                in_groups = groups if layer % 2 == 0 else 1
                blocks.append(RepVGGBlock(inputs, widths[stage], stride, in_groups, gate))
            tapped.append(self._add_stage(f"stage{stage}", blocks, plus))
        self.taps = {tapped[levels.index(r)] for r in self.reductions}

    def _add_stage(self, name: str, blocks: list[RepVGGBlock], plus: bool) -> str:
        """Register the blocks under their official names; return the name of the last module."""
        if not plus:
            self.add_module(name, nn.Sequential(*blocks))
        elif name != "stage3":
            self.add_module(name, PlusStage(*blocks))
        else:
            half = len(blocks) // 2
            self.add_module("stage3_first", PlusStage(*blocks[:half]))
            self.add_module(name := "stage3_second", PlusStage(*blocks[half:]))
        return name

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for name, stage in self.named_children():
            x = stage(x)
            if name in self.taps:
                maps.append(x)
        return maps

    def fuse(self) -> None:
        """Make every block one convolution and its ReLU; gates stay."""
        fuse_submodules(self)


def refuse_deployment_form(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Return ``state``. Raises: CheckpointError if its branches are merged, for they cannot be recovered."""
    merged = next((key for key in state if ".rbr_reparam." in key), None)
    if merged is not None:
        raise CheckpointError(
            f"the weights are in deployment form ({merged}), without the branches that training needs",
            fix="take the training file of the same variant, RepVGG-…-train.pth",
        )
    return state


def register(paper_name: str) -> Callable:
    """Return a decorator that lists a builder under its own name and the paper's; weights have no direct link."""
    return register_backbone(
        aliases=(paper_name, paper_name.replace("-", "_")),
        head_prefixes=("linear.", "stage1_aux.", "stage2_aux.", "stage3_first_aux."),
        convert=refuse_deployment_form,
    )


@register("RepVGG-A0")
def repvgg_a0(**options: Any) -> RepVGG:
    """7.8 M parameters without the classifier, 7.0 M fused, 72.41 % top-1."""
    return RepVGG((2, 4, 14, 1), (0.75, 0.75, 0.75, 2.5), **options)


@register("RepVGG-A1")
def repvgg_a1(**options: Any) -> RepVGG:
    """12.8 M, 11.5 M fused, 74.46 %."""
    return RepVGG((2, 4, 14, 1), (1, 1, 1, 2.5), **options)


@register("RepVGG-A2")
def repvgg_a2(**options: Any) -> RepVGG:
    """26.8 M, 24.1 M fused, 76.48 %."""
    return RepVGG((2, 4, 14, 1), (1.5, 1.5, 1.5, 2.75), **options)


@register("RepVGG-B0")
def repvgg_b0(**options: Any) -> RepVGG:
    """14.5 M, 13.1 M fused, 75.14 %."""
    return RepVGG((4, 6, 16, 1), (1, 1, 1, 2.5), **options)


@register("RepVGG-B1")
def repvgg_b1(**options: Any) -> RepVGG:
    """55.4 M, 49.8 M fused, 78.37 %."""
    return RepVGG((4, 6, 16, 1), (2, 2, 2, 4), **options)


@register("RepVGG-B1g2")
def repvgg_b1g2(**options: Any) -> RepVGG:
    """43.7 M, 39.3 M fused, 77.78 %."""
    return RepVGG((4, 6, 16, 1), (2, 2, 2, 4), groups=2, **options)


@register("RepVGG-B1g4")
def repvgg_b1g4(**options: Any) -> RepVGG:
    """37.9 M, 34.1 M fused, 77.58 %."""
    return RepVGG((4, 6, 16, 1), (2, 2, 2, 4), groups=4, **options)


@register("RepVGG-B2")
def repvgg_b2(**options: Any) -> RepVGG:
    """86.5 M, 77.8 M fused, 78.78 %."""
    return RepVGG((4, 6, 16, 1), (2.5, 2.5, 2.5, 5), **options)


@register("RepVGG-B2g2")
def repvgg_b2g2(**options: Any) -> RepVGG:
    """68.3 M, 61.4 M fused."""
    return RepVGG((4, 6, 16, 1), (2.5, 2.5, 2.5, 5), groups=2, **options)


@register("RepVGG-B2g4")
def repvgg_b2g4(**options: Any) -> RepVGG:
    """59.2 M, 53.2 M fused, 79.38 %."""
    return RepVGG((4, 6, 16, 1), (2.5, 2.5, 2.5, 5), groups=4, **options)


@register("RepVGG-B3")
def repvgg_b3(**options: Any) -> RepVGG:
    """120.5 M, 108.4 M fused, 80.52 %."""
    return RepVGG((4, 6, 16, 1), (3, 3, 3, 5), **options)


@register("RepVGG-B3g2")
def repvgg_b3g2(**options: Any) -> RepVGG:
    """94.4 M, 84.8 M fused."""
    return RepVGG((4, 6, 16, 1), (3, 3, 3, 5), groups=2, **options)


@register("RepVGG-B3g4")
def repvgg_b3g4(**options: Any) -> RepVGG:
    """81.3 M, 73.1 M fused, 80.21 %."""
    return RepVGG((4, 6, 16, 1), (3, 3, 3, 5), groups=4, **options)


@register("RepVGG-D2se")
def repvgg_d2se(**options: Any) -> RepVGG:
    """130.8 M, 117.8 M fused, 83.55 % at 320×320."""
    return RepVGG((8, 14, 24, 1), (2.5, 2.5, 2.5, 5), gated=True, **options)


@register("RepVGGplus-L2pse")
def repvggplus_l2pse(**options: Any) -> RepVGG:
    """137.5 M, 124.6 M fused, 84.06 % at 320×320."""
    return RepVGG((8, 14, 24, 1), (2.5, 2.5, 2.5, 5), plus=True, **options)
