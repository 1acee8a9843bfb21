"""The convolution block that everything is made of, and its depthwise, transposed, space-to-depth forms."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.layers.reparam import fold_bn, fold_transposed_bn, fuse_submodules
from models.registry import register_layer

Size = int | tuple[int, int] | list[int]  # one number, or height and width
Activation = bool | nn.Module | Callable[[int], nn.Module]  # True: the model's; False: none; or a factory of channels


def autopad(kernel: Size, padding: Size | None = None, dilation: int = 1) -> Size:
    """Return ``padding``, or what keeps the size of the map at stride 1."""
    if padding is not None:
        return padding
    if isinstance(kernel, int):
        return (dilation * (kernel - 1) + 1) // 2
    return tuple((dilation * (k - 1) + 1) // 2 for k in kernel)


def make_activation(act: Activation, channels: int) -> nn.Module:
    """Return the module that ``act`` stands for; True is SiLU until ``set_activation`` says otherwise."""
    if isinstance(act, nn.Module):
        return act
    if isinstance(act, bool):
        return nn.SiLU() if act else nn.Identity()
    return act(channels)


@register_layer("conv")
class Conv(nn.Module):
    """Convolution, batch norm, activation; (B, C, H, W) → (B, out_channels, ⌈H/stride⌉, ⌈W/stride⌉)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Size = 1,
        stride: Size = 1,
        padding: Size | None = None,
        groups: int = 1,
        dilation: int = 1,
        act: Activation = True,
    ) -> None:
        super().__init__()
        padding = autopad(kernel, padding, dilation)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, groups, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(out_channels)
        self.act = make_activation(act, out_channels)
        self.follows_model = act is True  # its activation is the one that the model YAML names

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))

    def fuse(self) -> None:
        """Fold the norm into the convolution."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv, self.bn = fold_bn(self.conv, self.bn), nn.Identity()
        fuse_submodules(self)


@register_layer("conv")
class DWConv(Conv):
    """Depthwise form of Conv: as many groups as the channel numbers allow."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Size = 1,
        stride: Size = 1,
        dilation: int = 1,
        act: Activation = True,
    ) -> None:
        groups = math.gcd(in_channels, out_channels)
        super().__init__(in_channels, out_channels, kernel, stride, None, groups, dilation, act)


@register_layer("conv")
class ConvTranspose(nn.Module):
    """Transposed convolution, batch norm unless ``norm`` is false, activation; its own is SiLU in every model.

    (B, C, H, W) → (B, out_channels, 2·H, 2·W) by default.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Size = 2,
        stride: Size = 2,
        padding: Size = 0,
        norm: bool = True,
        act: Activation = True,
    ) -> None:
        super().__init__()
        self.conv_transpose = nn.ConvTranspose2d(in_channels, out_channels, kernel, stride, padding, bias=not norm)
        self.bn: nn.Module = nn.BatchNorm2d(out_channels) if norm else nn.Identity()
        self.act = make_activation(act, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv_transpose(x)))

    def fuse(self) -> None:
        """Fold the norm into the convolution."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv_transpose, self.bn = fold_transposed_bn(self.conv_transpose, self.bn), nn.Identity()
        fuse_submodules(self)


@register_layer("conv")
class DWConvTranspose2d(nn.ConvTranspose2d):
    """Depthwise transposed convolution with bias, without norm and activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Size = 1,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
    ) -> None:
        groups = math.gcd(in_channels, out_channels)
        super().__init__(in_channels, out_channels, kernel, stride, padding, output_padding, groups)


@register_layer("conv")
class Focus(nn.Module):
    """The four pixel phases side by side, then Conv; (B, C, H, W) → (B, out_channels, H/2, W/2)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Size = 1,
        stride: Size = 1,
        padding: Size | None = None,
        groups: int = 1,
        act: Activation = True,
    ) -> None:
        super().__init__()
        self.conv = Conv(4 * in_channels, out_channels, kernel, stride, padding, groups, act=act)

    def forward(self, x: Tensor) -> Tensor:
        even, odd = x[..., ::2], x[..., 1::2]  # columns
        phases = (even[..., ::2, :], even[..., 1::2, :], odd[..., ::2, :], odd[..., 1::2, :])
        return self.conv(torch.cat(phases, dim=1))
