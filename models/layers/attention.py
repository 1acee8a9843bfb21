"""Self-attention over all cells of a map, as YOLOv5's transformer variant uses it: no layer norm, no position."""

from torch import Tensor, nn

from models.layers.conv import Conv
from models.layers.csp import CSPBlock
from models.registry import register_layer


class TransformerLayer(nn.Module):
    """Multi-head attention and a linear feed-forward, each with a residual; (N, B, C) → (N, B, C)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.q = nn.Linear(channels, channels, bias=False)
        self.k = nn.Linear(channels, channels, bias=False)
        self.v = nn.Linear(channels, channels, bias=False)
        self.ma = nn.MultiheadAttention(channels, heads)
        self.fc1 = nn.Linear(channels, channels, bias=False)
        self.fc2 = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.ma(self.q(x), self.k(x), self.v(x), need_weights=False)[0] + x
        return self.fc2(self.fc1(x)) + x


class TransformerBlock(nn.Module):
    """Transformer layers over the H·W cells; (B, in_channels, H, W) → (B, out_channels, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, heads: int, layers: int) -> None:
        super().__init__()
        self.conv = Conv(in_channels, out_channels) if in_channels != out_channels else None
        self.linear = nn.Linear(out_channels, out_channels)
        self.tr = nn.Sequential(*(TransformerLayer(out_channels, heads) for _ in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        if self.conv is not None:
            x = self.conv(x)
        cells = x.flatten(2).permute(2, 0, 1)  # (H·W, B, C)
        cells = self.tr(cells + self.linear(cells))
        return cells.permute(1, 2, 0).reshape(x.shape)


@register_layer("csp")
class C3TR(CSPBlock):
    """CSP block around transformer layers; ``shortcut`` and ``groups`` keep the places of C3's arguments."""

    def inner(self, width: int, repeats: int, shortcut: bool, groups: int) -> nn.Module:
        return TransformerBlock(width, width, 4, repeats)
