"""Partial self-attention: one half of the channels attends to all cells of its map, the other passes by.

Paper: YOLOv10: Real-Time End-to-End Object Detection, https://arxiv.org/abs/2405.14458 (Sec. 3.2)
"""

import torch
from torch import Tensor, nn

from models.layers.c2f import C2fBlock, HalvesBlock
from models.layers.conv import Conv
from models.registry import register_layer
from utils.errors import ConfigError

HEAD_CHANNELS = 64  # of each attention head, where the block has as many or more


@register_layer("same")
class Attention(nn.Module):
    """Multi-head attention over the H·W cells, with a depthwise convolution of the values as position code.

    (B, C, H, W) → (B, C, H, W). Queries and keys have ``key_ratio`` of the channels of the values. Each head has its
    queries, keys and values side by side in the output of ``qkv``.
    """

    def __init__(self, channels: int, heads: int = 8, key_ratio: float = 0.5) -> None:
        super().__init__()
        if channels % heads:
            raise ConfigError(
                f"{channels} channels cannot be shared by {heads} attention heads", "give a multiple as channels"
            )
        keys = int(channels // heads * key_ratio)
        self.heads = heads
        self.parts = [keys, keys, channels // heads]  # channels of the queries, keys and values of a head
        self.scale = keys**-0.5
        self.qkv = Conv(channels, heads * sum(self.parts), 1, act=False)
        self.proj = Conv(channels, channels, 1, act=False)
        self.pe = Conv(channels, channels, 3, groups=channels, act=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        heads = self.qkv(x).reshape(batch, self.heads, sum(self.parts), height * width)
        q, k, v = heads.split(self.parts, dim=2)
        weights = ((q * self.scale).transpose(2, 3) @ k).softmax(dim=3)  # (B, heads, H·W queries, H·W keys)
        attended = v @ weights.transpose(2, 3)  # (B, heads, C / heads, H·W)
        return self.proj(attended.reshape(x.shape) + self.pe(v.reshape(x.shape)))


@register_layer("same")
class PSABlock(nn.Module):
    """Attention and a feed-forward of 1×1 Convs, each with a residual if ``shortcut``; (B, C, H, W) → the same."""

    def __init__(self, channels: int, key_ratio: float = 0.5, heads: int = 4, shortcut: bool = True) -> None:
        super().__init__()
        self.attn = Attention(channels, heads, key_ratio)
        self.ffn = feed_forward(channels)
        self.add = shortcut

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x) if self.add else self.attn(x)
        return x + self.ffn(x) if self.add else self.ffn(x)


def feed_forward(channels: int) -> nn.Sequential:
    """Return two 1×1 Convs, the first twice as wide, the second without activation."""
    return nn.Sequential(Conv(channels, 2 * channels, 1), Conv(2 * channels, channels, 1, act=False))


def heads_for(channels: int) -> int:
    """Return the number of attention heads of a block so wide."""
    return max(channels // HEAD_CHANNELS, 1)


class PartialBlock(HalvesBlock):
    """What PSA and C2PSA share: the first half passes by; as many channels come out as go in."""

    def __init__(self, in_channels: int, out_channels: int, expansion: float) -> None:
        if in_channels != out_channels:
            raise ConfigError(
                f"{type(self).__name__} makes {out_channels} channels of {in_channels}",
                "give as many output channels as the row before it has",
            )
        super().__init__(in_channels, out_channels, 2, expansion)

    def attend(self, x: Tensor) -> Tensor:
        """Return what becomes of the second half (B, hidden, H, W)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.halves(x)
        return self.cv2(torch.cat((first, self.attend(second)), dim=1))


@register_layer("conv")
class PSA(PartialBlock):
    """Partial self-attention of one block, whose parts belong to the layer itself."""

    def __init__(self, in_channels: int, out_channels: int, expansion: float = 0.5) -> None:
        super().__init__(in_channels, out_channels, expansion)
        self.attn = Attention(self.hidden, heads_for(self.hidden))
        self.ffn = feed_forward(self.hidden)

    def attend(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        return x + self.ffn(x)


@register_layer("csp")
class C2PSA(PartialBlock):
    """Partial self-attention of several blocks, one after another."""

    def __init__(self, in_channels: int, out_channels: int, repeats: int = 1, expansion: float = 0.5) -> None:
        super().__init__(in_channels, out_channels, expansion)
        heads = heads_for(self.hidden)
        self.m = nn.Sequential(*(PSABlock(self.hidden, heads=heads) for _ in range(repeats)))

    def attend(self, x: Tensor) -> Tensor:
        return self.m(x)


@register_layer("csp")
class C2fPSA(C2fBlock):
    """C2f block of partial self-attention."""

    def __init__(self, in_channels: int, out_channels: int, repeats: int = 1, expansion: float = 0.5) -> None:
        super().__init__(in_channels, out_channels, repeats, expansion)
        heads = heads_for(self.hidden)
        self.m = nn.ModuleList(PSABlock(self.hidden, heads=heads) for _ in range(repeats))
