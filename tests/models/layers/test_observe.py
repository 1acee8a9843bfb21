"""A run on the meta device shows which norms may be folded and which parameters nothing reads."""

import copy

import pytest
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from models.layers.observe import fold_batch_norms, shadow, unread_parameters

SHAPE = (1, 3, 16, 24)


class Net(nn.Module):
    """Convolution, then what a subclass makes of its output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.spare = nn.Conv2d(4, 4, 1)


class Plain(Net):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.norm(self.conv(x)).relu()]


class WithBias(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, bias=True)


class ReadTwice(Net):
    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.conv(x)
        return [self.norm(x) + x]


class ReturnedToo(Net):
    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.conv(x)
        return [x, self.norm(x)]


class ActivationBetween(Net):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.norm(self.conv(x).relu())]


class ChangedInPlace(Net):
    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.conv(x)
        x += 1
        return [self.norm(x)]


class CalledTwice(Net):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.norm(self.conv(x)), self.conv(x)]


class SharedNorm(Net):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.norm(self.conv(x)), self.norm(self.conv(x).relu())]


class DerivedWeight(Net):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.norm(nn.functional.conv2d(x, self.conv.weight * 2, padding=1))]


class Behind(Net):
    """A norm of the image itself, then the convolution."""

    def __init__(self, **geometry) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(6)
        self.conv = nn.Conv2d(6, 4, **({"kernel_size": 1} | geometry))

    def normed(self, x: Tensor) -> Tensor:
        return self.norm(torch.cat((x, x.square()), 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.conv(self.normed(x)).relu()]


def behind(**geometry) -> type[Net]:
    class Net(Behind):
        def __init__(self) -> None:
            super().__init__(**geometry)

    return Net


class BehindAndReadTwice(Behind):
    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.normed(x)
        return [self.conv(x) + x[:, :4]]


class BehindAndReturned(Behind):
    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.normed(x)
        return [x, self.conv(x)]


class BehindAnActivation(Behind):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.conv(self.normed(x).relu())]


class PadsItself(Behind):
    def __init__(self) -> None:
        super().__init__()
        self.conv = Conv2dSame(6, 4, 2, stride=2)


class Between(Net):
    """The norm could go into either convolution, and goes into one."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Conv2d(4, 4, 1, bias=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.spare(self.norm(self.conv(x)))]


class Squared(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).square()


class UnknownNorm(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.norm = Squared(4)


class NoStatistics(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)


def seeded(net: type[Net]) -> Net:
    torch.manual_seed(0)
    module = net().eval()
    for tensor in module.norm.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return module


@pytest.mark.parametrize(
    "net",
    [
        *(Plain, WithBias, Between, behind(), behind(bias=False), behind(groups=2)),
        *(behind(kernel_size=2, stride=2), behind(kernel_size=(1, 3), dilation=2, groups=2)),
    ],
)
def test_a_norm_beside_a_convolution_becomes_part_of_it(net):
    module = seeded(net).double()
    image = torch.rand(SHAPE, dtype=torch.float64)
    (expected,) = module(image)

    assert fold_batch_norms(module, SHAPE) == 1

    assert isinstance(module.norm, nn.Identity)
    assert module.conv.weight.dtype == torch.float64
    torch.testing.assert_close(module(image)[0], expected, rtol=1e-12, atol=1e-12)
    assert fold_batch_norms(module, SHAPE) == 0


@pytest.mark.parametrize(
    "net",
    [
        *(ReadTwice, ReturnedToo, ActivationBetween, ChangedInPlace, CalledTwice),
        *(SharedNorm, DerivedWeight, UnknownNorm, NoStatistics),
        *(BehindAndReadTwice, BehindAndReturned, BehindAnActivation, PadsItself),
        *(behind(kernel_size=3, padding=1), behind(kernel_size=3, padding="same")),
    ],
)
def test_a_norm_that_is_not_certain_stays(net):
    module = seeded(net)
    image = torch.rand(SHAPE)
    expected = module(image)

    assert fold_batch_norms(module, SHAPE) == 0

    assert isinstance(module.norm, nn.BatchNorm2d)
    for found, map_ in zip(module(image), expected, strict=True):
        assert torch.equal(found, map_)


def test_the_caller_says_what_remains_of_a_norm_of_its_own():
    class Act(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.square()

    module = seeded(UnknownNorm)
    image = torch.rand(SHAPE)
    (expected,) = module(image)

    assert fold_batch_norms(module, SHAPE, lambda norm: Act()) == 1

    torch.testing.assert_close(module(image)[0], expected)


def test_parameters_that_reach_no_map_are_named():
    module = seeded(Plain)

    assert unread_parameters(module, SHAPE) == ["spare.weight", "spare.bias"]
    module.spare.requires_grad_(False)
    assert unread_parameters(module, SHAPE) == []
    assert all(parameter.grad is None for parameter in module.parameters())


def test_a_shadow_takes_no_memory_and_shares_nothing():
    module = seeded(Plain).half()
    before = copy.deepcopy(module.state_dict())

    twin = shadow(module)
    twin.train()(torch.empty(SHAPE, dtype=torch.float16, device="meta"))

    tensors = [*twin.parameters(), *twin.buffers()]
    assert all(tensor.is_meta for tensor in tensors)
    assert twin.conv.weight.dtype == torch.float16
    assert not module.training
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize(("bidirectional", "width"), [(False, 5), (True, 10)])
def test_an_lstm_keeps_its_output_shape_and_its_gradients_in_a_shadow(bidirectional, width):
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 5, num_layers=2, batch_first=True, bidirectional=bidirectional)
            self.spare = nn.Linear(1, 1)

        def forward(self, images: Tensor) -> list[Tensor]:
            rows, _ = self.lstm(images.flatten(2).transpose(1, 2))
            return [rows]

    module = Recurrent()

    (found,) = shadow(module)(torch.empty(SHAPE, device="meta"))

    assert found.shape == module(torch.rand(SHAPE))[0].shape == (1, 16 * 24, width)
    assert unread_parameters(module, SHAPE) == ["spare.weight", "spare.bias"]
