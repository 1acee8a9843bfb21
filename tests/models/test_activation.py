"""The ``activation:`` key: names and literals only, one model at a time, one instance per Conv."""

import pytest
import torch
from torch import nn

from models.detector import DetectionModel
from models.layers.activation import AconC, FReLU, MetaAconC, parse_activation
from models.layers.conv import Conv
from utils.errors import ConfigError

SMALL = {
    "nc": 2,
    "depth_multiple": 1.0,
    "width_multiple": 1.0,
    "anchors": [[10, 13, 16, 30]],
    "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 2, "C3", [8]], [-1, 1, "Conv", [8, 3, 1, None, 1, 1, False]]],
    "head": [[[-1], 1, "Detect", ["nc", "anchors"]]],
}


def activations(model):
    return [type(part.act) for part in model.modules() if isinstance(part, Conv)]


def test_a_model_with_another_activation_leaves_the_next_one_alone():
    leaky = DetectionModel(SMALL | {"activation": "nn.LeakyReLU(0.1)"})
    plain = DetectionModel(SMALL)

    assert set(activations(leaky)) == {nn.LeakyReLU, nn.Identity}
    assert set(activations(plain)) == {nn.SiLU, nn.Identity}
    assert leaky.model[0].act.negative_slope == 0.1


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("nn.SiLU()", nn.SiLU),
        ("SiLU", nn.SiLU),
        ("torch.nn.ReLU(inplace=True)", nn.ReLU),
        ("nn.Hardswish()", nn.Hardswish),
        ("Mish()", nn.Mish),
        ("MemoryEfficientMish()", nn.Mish),
        ("FReLU()", FReLU),
        ("AconC()", AconC),
        ("MetaAconC(reduction=8)", MetaAconC),
    ],
)
def test_known_activations_are_made_for_a_number_of_channels(text, kind):
    act = parse_activation(text)(8)

    assert type(act) is kind
    assert act(torch.randn(1, 8, 4, 4)).shape == (1, 8, 4, 4)


@pytest.mark.parametrize(
    "text",
    [
        *("nn.SiLu()", "nn.Conv2d(3, 3, 1)", "nn.ReLU(", "nn.LeakyReLU(x)", "nn.ReLU(1, 2, 3)"),
        *("__import__('os').system('true')", "[nn.ReLU() for _ in range(9)]"),
    ],
)
def test_anything_else_is_an_error_and_never_run(text):
    with pytest.raises(ConfigError, match="activation"):
        parse_activation(text)


def test_a_wrong_activation_names_the_close_one():
    with pytest.raises(ConfigError) as error:
        parse_activation("nn.LeakyRelu(0.1)")
    assert "did you mean LeakyReLU" in str(error.value)


def test_frelu_takes_the_larger_of_input_and_condition():
    act = FReLU(1).eval()
    nn.init.constant_(act.conv.weight, 1.0)
    act.bn.eps = 0.0

    y = act(torch.tensor([[[[1.0, -5.0]]]]))

    assert y.flatten().tolist() == [1.0, -4.0]  # the window sums to 1 − 5 = −4 at both places


def test_frelu_fuses_its_norm():
    conv = Conv(4, 4, act=FReLU).eval()
    nn.init.uniform_(conv.act.bn.running_var, 0.5, 1.5)
    x = torch.randn(1, 4, 6, 6)
    expected = conv(x)

    conv.fuse()

    torch.testing.assert_close(conv(x), expected, rtol=1e-5, atol=1e-6)
    assert isinstance(conv.act.bn, nn.Identity)


def test_acon_with_p1_one_and_p2_zero_is_silu():
    act = AconC(3)
    nn.init.ones_(act.p1)
    nn.init.zeros_(act.p2)
    x = torch.randn(2, 3, 4, 4)

    torch.testing.assert_close(act(x), nn.functional.silu(x))


def test_meta_acon_computes_beta_from_the_channel_means():
    act = MetaAconC(2)
    for parameter in (act.p1, act.fc2.weight, act.fc2.bias):
        nn.init.zeros_(parameter)
    nn.init.constant_(act.p2, -2.0)  # difference = 2x, β = σ(0) = ½: 2x·σ(x) − 2x

    x = torch.randn(2, 2, 4, 4)

    torch.testing.assert_close(act(x), 2 * x * torch.sigmoid(x) - 2 * x)
