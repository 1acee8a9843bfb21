"""EMO, a backbone of inverted residual blocks with attention inside.

Paper: Rethinking Mobile Block for Efficient Attention-based Models, https://arxiv.org/abs/2301.01146

Input (B, 3, H, W), H and W multiples of 32; returns five maps, fine to coarse, widths of ``emo_1m``:

    P1 (B, 24, H/2, W/2)   P2 (B, 32, H/4, W/4)   P3 (B, 48, H/8, W/8)
    P4 (B, 80, H/16, W/16)   P5 (B, 168, H/32, W/32)

Module names are those of the official checkpoints.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.backbones._options import choose, select_reductions
from models.layers.drop_path import DropPath
from models.layers.reparam import fold_bn, fold_bn_into_next
from models.registry import adamw, register_backbone

REDUCTIONS = (2, 4, 8, 16, 32)
STEM_WIDTH = 24
NORM_EPS = 1e-6  # of every norm
BatchNorm = partial(nn.BatchNorm2d, eps=NORM_EPS)


@dataclass(frozen=True)
class Stage:
    """``depth`` blocks, the first with stride 2 and twice the expansion; attention where ``head_width`` is given."""

    depth: int
    width: int
    expansion: float
    head_width: int = 0


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # no copy in channels_last


class Pointwise(nn.Module):
    """1×1 convolution and, if given, an activation."""

    def __init__(
        self, in_channels: int, out_channels: int, *, bias: bool = False, act: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=bias)
        self.act = act or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x))


class DepthwiseConv(nn.Conv2d):
    """k×k convolution of each channel. On CPUs, strided and 5×5 ones leave autocast.

    In bfloat16 oneDNN takes up to 40 times as long as in float32 for the input gradient of a strided one, and twice as
    long for the weight gradient of a 5×5 one.
    """

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
        self.slow_in_bfloat16 = stride > 1 or kernel > 3

    def forward(self, x: Tensor) -> Tensor:
        if self.slow_in_bfloat16 and x.device.type == "cpu" and x.dtype != self.weight.dtype:
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.to(self.weight.dtype))
        return super().forward(x)


class LocalConv(nn.Module):
    """Depthwise convolution, batch norm, SiLU."""

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = DepthwiseConv(channels, kernel, stride)
        self.norm = BatchNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.norm(self.conv(x)))

    def fuse(self) -> None:
        """Fold the norm into the convolution."""
        if not isinstance(self.norm, nn.Identity):
            self.conv, self.norm = fold_bn(self.conv, self.norm), nn.Identity()


class SqueezeExcite(nn.Module):
    """Channel gate from the global mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, channels, 1)
        self.conv_expand = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.conv_expand(F.silu(self.conv_reduce(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


class WindowAttention(nn.Module):
    """Attention of the input to itself in windows whose ``window``² pixels are spread evenly over the map (Sec. 3.2).

    The map is zero-padded on the right and bottom to (a · window, b · window); pixel (p, q) belongs to window
    (p mod a, q mod b). It is always padded and cropped, by no pixel if need be: a trace must not freeze that choice.
    """

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, 1)  # queries and keys; the input itself is the value
        self.heads, self.window = heads, window
        self.scale = (channels // heads) ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        channels, height, width = x.shape[1:]
        rows = (height + self.window - 1) // self.window  # a
        columns = (width + self.window - 1) // self.window  # b
        below, right = rows * self.window - height, columns * self.window - width
        x = F.pad(x.permute(0, 2, 3, 1), (0, 0, 0, right, 0, below))  # (B, a · window, b · window, C)
        query, key = F.linear(x, self.conv.weight.flatten(1), self.conv.bias).split(channels, dim=-1)
        query, key, value = (self._to_windows(t, rows, columns) for t in (query, key, x))
        # written out, for on CPUs the fused attention is no faster in float32 and takes 6 times as long in bfloat16
        weights = (query * self.scale @ key.transpose(1, 2)).softmax(-1)
        x = self._to_map(weights @ value, rows, columns)
        return x[:, :height, :width].permute(0, 3, 1, 2)

    def _to_windows(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Return (B, a · window, b · window, C) as (B · a · b · heads, window², C / heads)."""
        side, head_width = self.window, x.shape[3] // self.heads
        x = x.reshape(-1, side, rows, side, columns, self.heads, head_width)
        return x.permute(0, 2, 4, 5, 1, 3, 6).reshape(-1, side**2, head_width)

    def _to_map(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Undo ``_to_windows``."""
        side, head_width = self.window, x.shape[2]
        x = x.reshape(-1, rows, columns, self.heads, side, side, head_width)
        return x.permute(0, 4, 1, 5, 2, 3, 6).reshape(-1, side * rows, side * columns, self.heads * head_width)


class Stem(nn.Module):
    """3×3 convolution with stride 2 and batch norm, without activation."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        conv = nn.Conv2d(in_channels, STEM_WIDTH, 3, stride=2, padding=1)
        self.convs = nn.Sequential(nn.Sequential(conv, BatchNorm(STEM_WIDTH)))

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(x)

    def fuse(self) -> None:
        """Fold the norm into the convolution."""
        if len(self.convs[0]) > 1:
            self.convs[0] = nn.Sequential(fold_bn(*self.convs[0]))


class StemBlock(nn.Module):
    """The block of the stem: no input norm, no expansion, no skip, but the only channel gate."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_local = LocalConv(STEM_WIDTH, kernel=3, stride=1)
        self.se = SqueezeExcite(STEM_WIDTH)
        self.proj = Pointwise(STEM_WIDTH, STEM_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.se(self.conv_local(x)))


class InvertedResidual(nn.Module):
    """Inverted residual mobile block, iRMB (Sec. 3.2): attention, expansion, depthwise convolution, projection.

    The late stages, those with attention, have layer norm, GELU and 5×5 kernels; the early ones batch norm, SiLU, 3×3.
    Only blocks that keep the shape have skips, and only they attend.
    """

    def __init__(self, in_channels: int, stage: Stage, stride: int, window: int, drop_path: float) -> None:
        super().__init__()
        late = stage.head_width > 0
        self.skip = stride == 1
        width = int(in_channels * stage.expansion * stride)
        self.norm = LayerNorm2d(in_channels) if late else BatchNorm(in_channels)
        attends = late and self.skip
        self.qk = WindowAttention(in_channels, in_channels // stage.head_width, window) if attends else nn.Identity()
        self.v = Pointwise(in_channels, width, bias=True, act=nn.GELU() if late else nn.SiLU())
        self.conv_local = LocalConv(width, kernel=5 if late else 3, stride=stride)
        self.proj = Pointwise(width, stage.width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        expanded = self.v(self.qk(self.norm(x)))
        local = self.conv_local(expanded)
        if not self.skip:
            return self.proj(local)
        return x + self.drop_path(self.proj(local + expanded))

    def fuse(self) -> None:
        """Fold a batch norm into the expansion, which is not padded; a layer norm stays."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.v.conv, self.norm = fold_bn_into_next(self.norm, self.v.conv), nn.Identity()


class EMO(nn.Module):
    """A stem and up to four stages.

    ``taps`` says what the /32 level is: ``"norm"``, after the final layer norm, as in the tutorials, or ``"raw"``,
    before it, as in the official detectors. ``window`` is the side of the attention windows, 7 in classification, 10 in
    the official detectors; the weights do not depend on it. ``drop_path`` rises from 0 in the first block to its value
    in the last.
    """

    def __init__(
        self,
        stages: tuple[Stage, ...],
        *,
        drop_path: float,
        reductions: Iterable[int] | None = None,
        in_channels: int = 3,
        taps: str = "norm",
        window: int = 7,
    ) -> None:
        super().__init__()
        self.reductions = select_reductions(REDUCTIONS, reductions)
        widths = [STEM_WIDTH, *(stage.width for stage in stages)]
        self.feature_channels = [widths[REDUCTIONS.index(r)] for r in self.reductions]

        self.stage0 = nn.Sequential(Stem(in_channels), StemBlock())
        blocks_in_all = sum(stage.depth for stage in stages)
        rates = iter(drop_path * i / (blocks_in_all - 1) for i in range(blocks_in_all))
        for index in range(1, REDUCTIONS.index(self.reductions[-1]) + 1):
            stage = stages[index - 1]
            blocks = [InvertedResidual(widths[index - 1], stage, 2, window, next(rates))]
            blocks += [InvertedResidual(stage.width, stage, 1, window, next(rates)) for _ in range(1, stage.depth)]
            self.add_module(f"stage{index}", nn.Sequential(*blocks))
        normalised = choose("taps", taps, ("norm", "raw")) == "norm" and self.reductions[-1] == REDUCTIONS[-1]
        self.norm = LayerNorm2d(widths[-1]) if normalised else nn.Identity()

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for index, reduction in enumerate(REDUCTIONS[: REDUCTIONS.index(self.reductions[-1]) + 1]):
            x = self.get_submodule(f"stage{index}")(x)
            if reduction in self.reductions:
                maps.append(x)
        maps[-1] = self.norm(x)
        return maps

    def fuse(self) -> None:
        """Fold every batch norm into a neighbouring convolution; layer norms stay."""
        for module in self.modules():
            if isinstance(module, Stem | LocalConv | InvertedResidual):
                module.fuse()


register = partial(register_backbone, head_prefixes=("head.", "pre_head."), recipe=adamw(0.05))


@register(aliases=("EMO_1M", "EMO-1M", "EMO"))
def emo_1m(*, drop_path: float = 0.04036, **options: Any) -> EMO:
    """1.2 M parameters without the classifier, 71.5 % top-1."""
    stages = (Stage(2, 32, 2), Stage(2, 48, 2.5), Stage(8, 80, 3, head_width=20), Stage(3, 168, 3.5, head_width=21))
    return EMO(stages, drop_path=drop_path, **options)


@register(aliases=("EMO_2M", "EMO-2M"))
def emo_2m(*, drop_path: float = 0.05, **options: Any) -> EMO:
    """2.2 M, 75.1 %."""
    stages = (Stage(3, 32, 2), Stage(3, 48, 2.5), Stage(9, 120, 3, head_width=20), Stage(3, 200, 3.5, head_width=20))
    return EMO(stages, drop_path=drop_path, **options)


@register(aliases=("EMO_5M", "EMO-5M"))
def emo_5m(*, drop_path: float = 0.05, **options: Any) -> EMO:
    """4.8 M, 78.4 %."""
    stages = (Stage(3, 48, 2), Stage(3, 72, 3), Stage(9, 160, 4, head_width=32), Stage(3, 288, 4, head_width=32))
    return EMO(stages, drop_path=drop_path, **options)


@register(aliases=("EMO_6M", "EMO-6M"))
def emo_6m(*, drop_path: float = 0.05, **options: Any) -> EMO:
    """5.8 M, 79.0 %."""
    stages = (Stage(3, 48, 2), Stage(3, 72, 3), Stage(9, 160, 4, head_width=20), Stage(3, 320, 5, head_width=32))
    return EMO(stages, drop_path=drop_path, **options)
