"""FasterNet, a backbone of partial convolutions.

Paper: Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks, https://arxiv.org/abs/2303.03667

Input (B, 3, H, W), H and W multiples of 32; returns four maps, fine to coarse, widths of ``fasternet_t0``:

    P2 (B, 40, H/4, W/4)   P3 (B, 80, H/8, W/8)   P4 (B, 160, H/16, W/16)   P5 (B, 320, H/32, W/32)
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from models.backbones._options import choose, select_reductions
from models.layers.drop_path import DropPath
from models.layers.reparam import fold_bn, fuse_submodules
from models.registry import adamw, register_backbone

log = logging.getLogger(__name__)

RELEASE = "https://github.com/JierunChen/FasterNet/releases/download/v1.0"
RELU = partial(nn.ReLU, inplace=True)


class Conv(nn.Conv2d):
    """Bias-free convolution with weights from N(0, 0.02²); the official cut at ±2 is 100 standard deviations away."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, padding, bias=False)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.02)


class PartialConv(nn.Module):
    """3×3 convolution on the first quarter of the channels; the rest pass through untouched (Sec. 3.2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.split = [channels // 4, channels - channels // 4]
        self.partial_conv3 = Conv(self.split[0], self.split[0], 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        active, idle = x.split(self.split, dim=1)
        return torch.cat((self.partial_conv3(active), idle), dim=1)


class Block(nn.Module):
    """Partial convolution, then two 1×1 convolutions with one norm between them; residual (Fig. 4)."""

    def __init__(self, channels: int, activation: Callable[[], nn.Module], drop_path: float) -> None:
        super().__init__()
        self.spatial_mixing = PartialConv(channels)
        self.mlp = nn.Sequential(
            Conv(channels, 2 * channels, 1),
            nn.BatchNorm2d(2 * channels),
            activation(),
            Conv(2 * channels, channels, 1),
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.mlp(self.spatial_mixing(x)))

    def fuse(self) -> None:
        """Fold the norm into the first 1×1 convolution; its place stays, for the state-dict keys count it."""
        if not isinstance(self.mlp[1], nn.Identity):
            self.mlp[0], self.mlp[1] = fold_bn(self.mlp[0], self.mlp[1]), nn.Identity()


class Stage(nn.Module):
    """Blocks of one size."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class PatchEmbed(nn.Module):
    """Non-overlapping 4×4 patches."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = Conv(in_channels, channels, 4, stride=4)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x))

    def fuse(self) -> None:
        """Fold the norm into the convolution."""
        if not isinstance(self.norm, nn.Identity):
            self.proj, self.norm = fold_bn(self.proj, self.norm), nn.Identity()


class PatchMerging(nn.Module):
    """Halve the size and double the width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = Conv(channels, 2 * channels, 2, stride=2)
        self.norm = nn.BatchNorm2d(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.reduction(x))

    def fuse(self) -> None:
        """Fold the norm into the convolution."""
        if not isinstance(self.norm, nn.Identity):
            self.reduction, self.norm = fold_bn(self.reduction, self.norm), nn.Identity()


class FasterNet(nn.Module):
    """Four stages of ``depths`` blocks, ``width`` · 2^stage channels.

    ``taps`` says what a level is: ``"fork"``, the map after a batch norm of its own, as in the official detectors and
    in the tutorials, or ``"raw"``, the map as it goes on to the next stage, as in timm.
    """

    def __init__(
        self,
        width: int,
        depths: tuple[int, ...],
        activation: Callable[[], nn.Module],
        *,
        drop_path: float,
        reductions: Iterable[int] | None = None,
        in_channels: int = 3,
        taps: str = "fork",
    ) -> None:
        super().__init__()
        levels = (4, 8, 16, 32)
        self.reductions = select_reductions(levels, reductions)
        self.feature_channels = [width * 2 ** levels.index(r) for r in self.reductions]
        normalised = choose("taps", taps, ("fork", "raw")) == "fork"

        self.patch_embed = PatchEmbed(in_channels, width)
        rates = iter(drop_path * i / (sum(depths) - 1) for i in range(sum(depths)))
        stages: list[nn.Module] = []
        for stage, reduction in enumerate(levels[: levels.index(self.reductions[-1]) + 1]):
            channels = width * 2**stage
            if stage > 0:
                stages.append(PatchMerging(channels // 2))
            stages.append(Stage(Block(channels, activation, next(rates)) for _ in range(depths[stage])))
            if reduction in self.reductions:  # a norm that nobody reads would have no gradient
                fork = nn.BatchNorm2d(channels) if normalised else nn.Identity()
                self.add_module(f"norm{len(stages) - 1}", fork)
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.patch_embed(x)
        maps = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            fork = getattr(self, f"norm{index}", None)
            if fork is not None:
                maps.append(fork(x))
        return maps

    def fuse(self) -> None:
        """Fold every norm that follows a convolution; the fork norms follow a sum and stay."""
        fuse_submodules(self)


def complete_fork_norms(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Return ``state`` with the fork norms that ``module`` has: classifier files hold none, detector files all four."""
    trunk = {key: value for key, value in state.items() if not key.startswith("norm")}
    forks = {key: state.get(key, value) for key, value in module.state_dict().items() if key.startswith("norm")}
    new = [key for key in forks if key not in state]
    if new:
        log.info("%d tensors of the level norms are not in the file, which is a classifier's: they start new", len(new))
    return trunk | forks


register = partial(
    register_backbone,
    head_prefixes=("avgpool_pre_head.", "head."),
    convert=complete_fork_norms,
    recipe=adamw(0.0001),
)


@register(aliases=("FasterNet-T0",), url=f"{RELEASE}/fasternet_t0-epoch.281-val_acc1.71.9180.pth")
def fasternet_t0(*, drop_path: float = 0.0, **options: Any) -> FasterNet:
    """2.2 M parameters without the classifier, 71.9 % top-1 (Table 1)."""
    return FasterNet(40, (1, 2, 8, 2), nn.GELU, drop_path=drop_path, **options)


@register(aliases=("FasterNet-T1",), url=f"{RELEASE}/fasternet_t1-epoch.291-val_acc1.76.2180.pth")
def fasternet_t1(*, drop_path: float = 0.02, **options: Any) -> FasterNet:
    """5.7 M, 76.2 %."""
    return FasterNet(64, (1, 2, 8, 2), nn.GELU, drop_path=drop_path, **options)


@register(aliases=("FasterNet-T2",), url=f"{RELEASE}/fasternet_t2-epoch.289-val_acc1.78.8860.pth")
def fasternet_t2(*, drop_path: float = 0.05, **options: Any) -> FasterNet:
    """12.7 M, 78.9 %."""
    return FasterNet(96, (1, 2, 8, 2), RELU, drop_path=drop_path, **options)


@register(aliases=("FasterNet",), url=f"{RELEASE}/fasternet_t2-epoch.289-val_acc1.78.8860.pth")
def fasternet(*, drop_path: float = 0.1, **options: Any) -> FasterNet:
    """The tutorials' class without arguments: T2 with a larger drop path."""
    return fasternet_t2(drop_path=drop_path, **options)


@register(aliases=("FasterNet-S",), url=f"{RELEASE}/fasternet_s-epoch.299-val_acc1.81.2840.pth")
def fasternet_s(*, drop_path: float = 0.1, **options: Any) -> FasterNet:
    """28.6 M, 81.3 %; the official detector uses a drop path of 0.15."""
    return FasterNet(128, (1, 2, 13, 2), RELU, drop_path=drop_path, **options)


@register(aliases=("FasterNet-M",), url=f"{RELEASE}/fasternet_m-epoch.291-val_acc1.82.9620.pth")
def fasternet_m(*, drop_path: float = 0.2, **options: Any) -> FasterNet:
    """50.8 M, 83.0 %."""
    return FasterNet(144, (3, 4, 18, 3), RELU, drop_path=drop_path, **options)


@register(aliases=("FasterNet-L",), url=f"{RELEASE}/fasternet_l-epoch.299-val_acc1.83.5060.pth")
def fasternet_l(*, drop_path: float = 0.3, **options: Any) -> FasterNet:
    """90.2 M, 83.5 %."""
    return FasterNet(192, (3, 4, 18, 3), RELU, drop_path=drop_path, **options)
