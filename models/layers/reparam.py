"""Structural re-parameterisation: fold batch norms and parallel branches into one convolution.

Every function keeps dtype and device, uses the running statistics, and changes none of its inputs. A module that can
be re-parameterised has a method ``fuse()``: in place, idempotent, only meaningful in eval mode.
"""

import torch
from torch import Tensor, nn


def bn_scale_shift(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return (scale, shift), each (C,), with ``bn(x) = scale · x + shift`` in eval mode."""
    scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    return scale, bn.bias - bn.running_mean * scale


@torch.no_grad()
def fold_bn(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """Return one convolution equal to ``bn(conv(x))`` in eval mode; exact for every stride, padding and groups."""
    scale, shift = bn_scale_shift(bn)
    weight = conv.weight * scale.view(-1, 1, 1, 1)
    bias = shift if conv.bias is None else shift + conv.bias * scale
    return conv_like(conv, weight, bias)


@torch.no_grad()
def conv_like(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """Return a convolution with the geometry of ``conv`` and the given weight (O, I/g, kh, kw) and bias (O,)."""
    fused = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        weight.shape[-2:],
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
        device="meta",
    )
    fused.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    fused.bias = nn.Parameter(bias.contiguous(), requires_grad=False)
    return fused.train(conv.training)
