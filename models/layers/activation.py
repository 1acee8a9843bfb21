"""Activations with parameters of their own, and the ``activation:`` key of a model YAML.

Papers: Funnel Activation for Visual Recognition, https://arxiv.org/abs/2007.11824
        Activate or Not: Learning Customized Activation, https://arxiv.org/abs/2009.04759
"""

import ast
from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.layers.conv import Conv
from models.layers.reparam import fold_bn
from utils.errors import ConfigError
from utils.registry import suggest

ActivationFactory = Callable[[int], nn.Module]  # from the number of channels


class FReLU(nn.Module):
    """max(x, T(x)) with a depthwise convolution and norm as T (Eq. 2 of the first paper)."""

    def __init__(self, channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel, 1, kernel // 2, groups=channels, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.max(x, self.bn(self.conv(x)))

    def fuse(self) -> None:
        """Fold the norm into the convolution."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv, self.bn = fold_bn(self.conv, self.bn), nn.Identity()


class AconC(nn.Module):
    """d·σ(β·d) + p2·x with d = (p1 − p2)·x and one learned p1, p2, β per channel (Table 1 of the second paper)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.p1 = nn.Parameter(torch.randn(1, channels, 1, 1))
        self.p2 = nn.Parameter(torch.randn(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        difference = (self.p1 - self.p2) * x
        return difference * torch.sigmoid(self.beta * difference) + self.p2 * x


class MetaAconC(nn.Module):
    """AconC whose β is computed from the mean of each channel (Sec. 4 of the second paper)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(reduction, channels // reduction)
        self.p1 = nn.Parameter(torch.randn(1, channels, 1, 1))
        self.p2 = nn.Parameter(torch.randn(1, channels, 1, 1))
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        beta = torch.sigmoid(self.fc2(self.fc1(x.mean((2, 3), keepdim=True))))
        difference = (self.p1 - self.p2) * x
        return difference * torch.sigmoid(beta * difference) + self.p2 * x


PER_CHANNEL = {cls.__name__: cls for cls in (FReLU, AconC, MetaAconC)}  # constructed with the number of channels
PLAIN = {
    cls.__name__: cls
    for cls in (
        *(nn.CELU, nn.ELU, nn.GELU, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.Identity, nn.LeakyReLU, nn.Mish),
        *(nn.PReLU, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Tanh),
    )
}
PLAIN["MemoryEfficientMish"] = nn.Mish  # the reference's name for the form that PyTorch now has


def parse_activation(text: str) -> ActivationFactory:
    """Return the factory, from channels to a module, behind a text such as ``nn.LeakyReLU(0.1)`` or ``FReLU()``.

    Raises: ConfigError for an unknown name, or arguments that are not literals or do not fit.
    """
    name, arguments, keywords = _parse_call(text)
    if name not in PLAIN | PER_CHANNEL:
        raise ConfigError(f"unknown activation {text!r}", suggest(name, PLAIN | PER_CHANNEL) or "known: nn.SiLU() …")

    def make(channels: int) -> nn.Module:
        if name in PER_CHANNEL:
            return PER_CHANNEL[name](channels, *arguments, **keywords)
        return PLAIN[name](*arguments, **keywords)

    try:
        with torch.device("meta"):
            make(8)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"activation {text!r}: {error}", "correct its arguments") from error
    return make


def _parse_call(text: str) -> tuple[str, list, dict]:
    """Return the name, the arguments and the keywords of ``nn.Name(literal, key=literal)``."""
    try:
        node = ast.parse(text, mode="eval").body
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        arguments = [ast.literal_eval(argument) for argument in call.args]
        keywords = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"activation {text!r} is not a name with literal arguments", "as in nn.SiLU()") from error
    return ast.unparse(call.func).removeprefix("torch.").removeprefix("nn."), arguments, keywords


def set_activation(module: nn.Module, make: ActivationFactory) -> None:
    """Give every Conv of ``module`` that follows the model's activation one of its own from ``make``, in place."""
    for conv in [part for part in module.modules() if isinstance(part, Conv) and part.follows_model]:
        conv.act = make(conv.conv.out_channels)
