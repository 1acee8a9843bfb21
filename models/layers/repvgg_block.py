"""The block of RepVGG: three branches in training, one 3×3 convolution when fused.

Paper: RepVGG: Making VGG-style ConvNets Great Again, https://arxiv.org/abs/2101.03697
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.reparam import bn_scale_shift, conv_like, fold_bn
from models.registry import register_layer


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


@register_layer("conv")
class RepVGGBlock(nn.Module):
    """ReLU of the sum of a 3×3, a 1×1 and, where the shape stays, an identity branch, each with its norm (Fig. 2)."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, groups: int = 1, *, gate: str | None = None
    ) -> None:
        super().__init__()
        if type(stride) is not int or stride not in (1, 2):
            raise ValueError(f"stride {stride!r} is not 1 or 2; behind the channels stand stride and groups, no kernel")
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
