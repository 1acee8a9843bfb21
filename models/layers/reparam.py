"""Structural re-parameterisation: fold batch norms and parallel branches into one convolution.

A module that can be re-parameterised has a method ``fuse()``: in place, idempotent, only meaningful in eval mode. The
functions that fold keep dtype and device, use the running statistics, and change none of their inputs.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

AnyConv = TypeVar("AnyConv", nn.Conv2d, nn.ConvTranspose2d)


def bn_scale_shift(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return (scale, shift), each (C,), with ``bn(x) = scale · x + shift`` in eval mode."""
    scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    return scale, bn.bias - bn.running_mean * scale


@torch.no_grad()
def fold_bn(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """Return one convolution equal to ``bn(conv(x))`` in eval mode; exact for every stride, padding and groups."""
    return fold_affine(conv, *bn_scale_shift(bn))


@torch.no_grad()
def fold_concat_bn(convs: Sequence[nn.Conv2d], bn: nn.BatchNorm2d) -> list[nn.Conv2d]:
    """Return convolutions whose concatenated outputs equal ``bn(cat([conv(x) for conv in convs]))`` in eval mode."""
    widths = [conv.out_channels for conv in convs]
    scale, shift = bn_scale_shift(bn)
    return [fold_affine(*parts) for parts in zip(convs, scale.split(widths), shift.split(widths), strict=True)]


@torch.no_grad()
def fold_affine(conv: nn.Conv2d, scale: Tensor, shift: Tensor) -> nn.Conv2d:
    """Return one convolution equal to ``scale · conv(x) + shift``, both (O,)."""
    weight = conv.weight * scale.view(-1, 1, 1, 1)
    bias = shift if conv.bias is None else shift + conv.bias * scale
    return conv_like(conv, weight, bias)


@torch.no_grad()
def fold_transposed_bn(conv: nn.ConvTranspose2d, bn: nn.BatchNorm2d) -> nn.ConvTranspose2d:
    """Return one transposed convolution equal to ``bn(conv(x))`` in eval mode."""
    scale, shift = bn_scale_shift(bn)
    weight = conv.weight.unflatten(0, (conv.groups, -1))  # (g, I/g, O/g, kh, kw)
    weight = (weight * scale.view(conv.groups, 1, -1, 1, 1)).flatten(0, 1)
    return conv_like(conv, weight, shift if conv.bias is None else shift + conv.bias * scale)


@torch.no_grad()
def fold_bn_into_next(bn: nn.BatchNorm2d, conv: nn.Conv2d) -> nn.Conv2d:
    """Return one convolution equal to ``conv(bn(x))`` in eval mode; padding, which the norm does not see, would make it
    inexact.
    """
    assert conv.padding == (0, 0)
    scale, shift = (part.view(conv.groups, 1, -1, 1, 1) for part in bn_scale_shift(bn))
    weight = conv.weight.unflatten(0, (conv.groups, -1))  # (g, O/g, I/g, kh, kw)
    moved = (weight * shift).sum((2, 3, 4)).flatten()  # (O,)
    bias = moved if conv.bias is None else conv.bias + moved
    return conv_like(conv, (weight * scale).flatten(0, 1), bias)


@torch.no_grad()
def conv_like(conv: AnyConv, weight: Tensor, bias: Tensor) -> AnyConv:
    """Return a convolution with the geometry of ``conv`` and the given weight, (O, I/g, kh, kw) or if transposed
    (I, O/g, kh, kw), and bias (O,).
    """
    geometry: dict[str, Any] = {
        "stride": conv.stride,
        "padding": conv.padding,
        "dilation": conv.dilation,
        "groups": conv.groups,
    }
    cls = nn.Conv2d
    if conv.transposed:
        cls, geometry["output_padding"] = nn.ConvTranspose2d, conv.output_padding
    fused = cls(conv.in_channels, conv.out_channels, weight.shape[-2:], **geometry, device="meta")
    fused.weight = nn.Parameter(weight.contiguous(memory_format=_memory_format(conv.weight)), requires_grad=False)
    fused.bias = nn.Parameter(bias.clone(), requires_grad=False)
    return fused.train(conv.training)


def _memory_format(weight: Tensor) -> torch.memory_format:
    channels_last = weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    return torch.channels_last if channels_last else torch.contiguous_format


def fuse_submodules(module: nn.Module) -> None:
    """Call ``fuse()`` of every outermost submodule that has one, in place."""
    for child in module.children():
        if hasattr(child, "fuse"):
            child.fuse()
        else:
            fuse_submodules(child)
