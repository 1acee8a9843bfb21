"""Re-parameterise a model of timm for inference."""

from collections.abc import Sequence

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from timm.utils.model import reparameterize_model
from torch import nn

from models.layers.observe import fold_batch_norms, nothing_left


def fuse_timm(body: nn.Module, shape: Sequence[int]) -> None:
    """Re-parameterise a timm model by its own methods, then fold the norms that they leave, in place."""
    dtype, before = next(body.parameters()).dtype, torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # in which timm creates what it puts in the place of others
    try:
        reparameterize_model(body, inplace=True)
    finally:
        torch.set_default_dtype(before)
    fold_batch_norms(body, shape, _remainder)
    for name, conv in [item for item in body.named_modules() if type(item[1]) is Conv2dSame]:
        body.set_submodule(name, _statically_padded(conv))


def _statically_padded(conv: Conv2dSame) -> nn.Sequential:
    """Return a convolution that pads as TensorFlow does, for maps whose sides are multiples of its stride.

    Computed from every image's size instead, the padding keeps PyTorch's exporter busy for many minutes.
    """
    sizes = zip(conv.kernel_size, conv.stride, conv.dilation, strict=True)
    rows, columns = (max((kernel - 1) * dilation + 1 - stride, 0) for kernel, stride, dilation in sizes)
    channels, geometry = (conv.in_channels, conv.out_channels), (conv.kernel_size, conv.stride, 0, conv.dilation)
    plain = nn.Conv2d(*channels, *geometry, groups=conv.groups, device="meta")
    plain.weight, plain.bias = conv.weight, conv.bias
    return nn.Sequential(nn.ZeroPad2d((columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)), plain)


def _remainder(norm: nn.BatchNorm2d) -> nn.Module | None:
    return nn.Sequential(norm.drop, norm.act) if type(norm) is BatchNormAct2d else nothing_left(norm)
