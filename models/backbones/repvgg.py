"""RepVGG, a plain stack of 3×3 convolutions that trains with two more branches in every block.

Paper: RepVGG: Making VGG-style ConvNets Great Again, https://arxiv.org/abs/2101.03697

Input (B, 3, H, W), H and W multiples of 32; returns five maps, fine to coarse, widths of ``repvgg_a0``:

    P1 (B, 48, H/2, W/2)   P2 (B, 48, H/4, W/4)   P3 (B, 96, H/8, W/8)
    P4 (B, 192, H/16, W/16)   P5 (B, 1280, H/32, W/32)

Weight files in deployment form (``rbr_reparam``) are refused: their branches cannot be recovered, so they cannot be
trained on; ``fuse`` makes that form from a training file.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from models.backbones._options import select_reductions
from models.layers.reparam import fuse_submodules
from models.layers.repvgg_block import RepVGGBlock
from models.registry import BACKBONES, MAX_PARAMETERS, BackboneEntry, adamw, register_backbone
from utils.errors import CheckpointError, ConfigError

REDUCTIONS = (2, 4, 8, 16, 32)
MAX_DEPTH = 1000
HEADS = ("linear.", "stage1_aux.", "stage2_aux.", "stage3_first_aux.")
WITHOUT_URL = (
    "give False, or the path of a downloaded RepVGG-…-train.pth; the True of the tutorials, the deployed form, is what "
    "fuse() makes of a trained model, see docs/fusing.md"
)


class PlusStage(nn.Module):
    """Blocks of one size, as RepVGGplus names them."""

    def __init__(self, *blocks: RepVGGBlock) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class RepVGG(nn.Module):
    """A stem block and stages of ``depths`` blocks; ``widths`` are the channels of the stem and of each stage.

    Every module halves the size. Levels coarser than the last stage are max-pooled from it. Every second block
    convolves in ``groups``. ``gated`` adds squeeze-and-excitation before the ReLU; ``plus`` adds it after the ReLU
    instead and halves the third stage, as RepVGGplus does.
    """

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        *,
        groups: int = 1,
        gated: bool = False,
        plus: bool = False,
        reductions: Iterable[int] | None = None,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        own = REDUCTIONS[: len(widths)]
        self.reductions = select_reductions(REDUCTIONS, own if reductions is None else reductions)
        deepest = min(REDUCTIONS.index(self.reductions[-1]), len(own) - 1)
        self.feature_channels = [widths[min(REDUCTIONS.index(r), deepest)] for r in self.reductions]
        self.pooled = [r // own[-1] for r in self.reductions if r > own[-1]]

        gate = "before ReLU" if gated else "after ReLU" if plus else None
        self.stage0 = RepVGGBlock(in_channels, widths[0], stride=2, gate=gate)
        tapped = ["stage0"]  # per level, the module whose output it is
        layer = 0
        for stage in range(1, deepest + 1):
            blocks = []
            for index in range(depths[stage - 1]):
                layer += 1
                inputs, stride = (widths[stage - 1], 2) if index == 0 else (widths[stage], 1)
                in_groups = groups if layer % 2 == 0 else 1
                blocks.append(RepVGGBlock(inputs, widths[stage], stride, in_groups, gate=gate))
            tapped.append(self._add_stage(f"stage{stage}", blocks, plus))
        self.taps = {tapped[own.index(r)] for r in self.reductions if r in own}

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
        return [*maps, *(F.max_pool2d(x, factor) for factor in self.pooled)]

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


def published(depths: Sequence[int], multipliers: Sequence[float], **options: Any) -> RepVGG:
    """Return a network of the papers: the widths of its four stages are 64, 128, 256, 512 times ``multipliers``."""
    widths = [int(base * a) for base, a in zip((64, 128, 256, 512), multipliers, strict=True)]
    return RepVGG([min(64, widths[0]), *widths], depths, **options)


def of_own_size(
    *,
    widths: Sequence[int] | None = None,
    depths: Sequence[int] | None = None,
    groups: int = 1,
    reductions: Iterable[int] | None = None,
    in_channels: int = 3,
) -> RepVGG:
    """A network of the ``widths`` and ``depths`` of a YAML row; without them A0, the smallest that is published.

    ``widths`` are the channels of the strides 2, 4, …, ``depths`` the blocks of each. The first are those of the stem,
    which is one block in every RepVGG: ``depths`` may leave it out, and another number for it is not used.
    """
    levels: dict[str, Any] = {"reductions": reductions, "in_channels": in_channels}
    if widths is None and depths is None:
        network = repvgg_a0(groups=groups, **levels)
        network.note = "RepVGG without widths and depths is repvgg_a0, the smallest published one"
        return network
    widths, depths = _checked_sizes(widths, depths)
    network = RepVGG(widths, depths, groups=groups, **levels)
    stages = ", ".join(f"{depth}×{width}" for depth, width in zip(depths, widths[1:], strict=True))
    pooling = "; coarser levels by max-pooling" if network.pooled else ""
    network.note = f"RepVGG, blocks × channels: stem 1×{widths[0]}, stages {stages}{pooling}"
    return network


def _checked_sizes(widths: Any, depths: Any) -> tuple[list[int], list[int]]:
    """Return the widths of stem and stages, and the depths of the stages. Raises: ConfigError."""
    sizes = {"widths": widths, "depths": depths}
    for name, values in sizes.items():
        if not isinstance(values, list | tuple) or not all(type(v) is int and v > 0 for v in values):
            fix = "for example {widths: [64, 128, 256, 512], depths: [1, 2, 2, 2]}"
            raise ConfigError(f"{name}: {values!r} is not a list of positive whole numbers", fix)
    if not 2 <= len(widths) <= len(REDUCTIONS) or len(widths) - len(depths) not in (0, 1):
        raise ConfigError(
            f"{len(widths)} widths and {len(depths)} depths",
            "give two to five of each, for the strides 2, 4, 8, 16, 32; the first are the stem's",
        )
    depths = list(depths[1 - len(widths) :])
    inner = sum(d * w * w for d, w in zip(depths, widths[1:], strict=True))
    parameters = 10 * (inner + sum(a * b for a, b in pairwise(widths)))  # at most, in training form without norms
    if parameters > MAX_PARAMETERS or max(depths) > MAX_DEPTH:
        raise ConfigError(
            f"widths {list(widths)} and depths {depths} are up to {parameters:,} parameters",
            f"at most {MAX_PARAMETERS:,}, and {MAX_DEPTH} blocks in a stage",
        )
    return list(widths), depths


FACTS = {
    "head_prefixes": HEADS,
    "convert": refuse_deployment_form,
    "without_url": WITHOUT_URL,
    "recipe": adamw(0.02),
}
BACKBONES.register("RepVGG")(BackboneEntry(of_own_size, **FACTS))


def register(paper_name: str) -> Callable:
    """Return a decorator that lists a builder under its own name and the paper's; weights have no direct link."""
    alias = paper_name.replace("-", "_")
    return register_backbone(aliases=(paper_name, alias, f"create_{alias}"), **FACTS)


@register("RepVGG-A0")
def repvgg_a0(**options: Any) -> RepVGG:
    """7.8 M parameters without the classifier, 7.0 M fused, 72.41 % top-1."""
    return published((2, 4, 14, 1), (0.75, 0.75, 0.75, 2.5), **options)


@register("RepVGG-A1")
def repvgg_a1(**options: Any) -> RepVGG:
    """12.8 M, 11.5 M fused, 74.46 %."""
    return published((2, 4, 14, 1), (1, 1, 1, 2.5), **options)


@register("RepVGG-A2")
def repvgg_a2(**options: Any) -> RepVGG:
    """26.8 M, 24.1 M fused, 76.48 %."""
    return published((2, 4, 14, 1), (1.5, 1.5, 1.5, 2.75), **options)


@register("RepVGG-B0")
def repvgg_b0(**options: Any) -> RepVGG:
    """14.5 M, 13.1 M fused, 75.14 %."""
    return published((4, 6, 16, 1), (1, 1, 1, 2.5), **options)


@register("RepVGG-B1")
def repvgg_b1(**options: Any) -> RepVGG:
    """55.4 M, 49.8 M fused, 78.37 %."""
    return published((4, 6, 16, 1), (2, 2, 2, 4), **options)


@register("RepVGG-B1g2")
def repvgg_b1g2(**options: Any) -> RepVGG:
    """43.7 M, 39.3 M fused, 77.78 %."""
    return published((4, 6, 16, 1), (2, 2, 2, 4), groups=2, **options)


@register("RepVGG-B1g4")
def repvgg_b1g4(**options: Any) -> RepVGG:
    """37.9 M, 34.1 M fused, 77.58 %."""
    return published((4, 6, 16, 1), (2, 2, 2, 4), groups=4, **options)


@register("RepVGG-B2")
def repvgg_b2(**options: Any) -> RepVGG:
    """86.5 M, 77.8 M fused, 78.78 %."""
    return published((4, 6, 16, 1), (2.5, 2.5, 2.5, 5), **options)


@register("RepVGG-B2g2")
def repvgg_b2g2(**options: Any) -> RepVGG:
    """68.3 M, 61.4 M fused."""
    return published((4, 6, 16, 1), (2.5, 2.5, 2.5, 5), groups=2, **options)


@register("RepVGG-B2g4")
def repvgg_b2g4(**options: Any) -> RepVGG:
    """59.2 M, 53.2 M fused, 79.38 %."""
    return published((4, 6, 16, 1), (2.5, 2.5, 2.5, 5), groups=4, **options)


@register("RepVGG-B3")
def repvgg_b3(**options: Any) -> RepVGG:
    """120.5 M, 108.4 M fused, 80.52 %."""
    return published((4, 6, 16, 1), (3, 3, 3, 5), **options)


@register("RepVGG-B3g2")
def repvgg_b3g2(**options: Any) -> RepVGG:
    """94.4 M, 84.8 M fused."""
    return published((4, 6, 16, 1), (3, 3, 3, 5), groups=2, **options)


@register("RepVGG-B3g4")
def repvgg_b3g4(**options: Any) -> RepVGG:
    """81.3 M, 73.1 M fused, 80.21 %."""
    return published((4, 6, 16, 1), (3, 3, 3, 5), groups=4, **options)


@register("RepVGG-D2se")
def repvgg_d2se(**options: Any) -> RepVGG:
    """130.8 M, 117.8 M fused, 83.55 % at 320×320."""
    return published((8, 14, 24, 1), (2.5, 2.5, 2.5, 5), gated=True, **options)


@register("RepVGGplus-L2pse")
def repvggplus_l2pse(**options: Any) -> RepVGG:
    """137.5 M, 124.6 M fused, 84.06 % at 320×320."""
    return published((8, 14, 24, 1), (2.5, 2.5, 2.5, 5), plus=True, **options)
