"""Every layer computes what the reference computes: parameters, keys and sums of outputs for weights from a formula."""

import pytest
import torch
from golden_models import fill_sine, sine_image
from torch import nn

from models import common
from models.layers.reparam import fuse_submodules
from models.registry import LAYERS

GAIN = 2.5
GOLDEN = [  # layer, arguments, input channels → parameters, output (C, H, W), sum, sum of squares, state-dict keys
    ("Conv", (8, 16, 3, 2), 1184, (16, 4, 4), 38.197478, 56.305969, 6),
    ("Conv", (8, 16, 3, 1, None, 1, 2), 1184, (16, 8, 8), 149.77565, 187.59488, 6),
    ("DWConv", (8, 16, 3, 1), 176, (16, 8, 8), 342.83792, 522.28597, 6),
    ("DWConvTranspose2d", (8, 16, 4, 2, 1, 0), 272, (16, 16, 16), 37.074288, 1080.9653, 2),
    ("TransformerBlock", (8, 16, 4, 2), 5168, (16, 8, 8), -40392.619, 1.9130993e8, 26),
    ("Bottleneck", (16, 16), 1328, (16, 8, 8), 583.95843, 600.07342, 12),
    ("BottleneckCSP", (8, 16, 2), 1872, (16, 8, 8), 405.73024, 755.40651, 43),
    ("CrossConv", (16, 16, 3, 1, 1, 1.0, True), 1600, (16, 8, 8), 617.26122, 633.64573, 12),
    ("C3", (8, 16, 2), 1792, (16, 8, 8), 803.9427, 2029.3748, 42),
    ("C3x", (8, 16, 2), 1280, (16, 8, 8), 739.88286, 1632.7579, 42),
    ("C3TR", (8, 16, 2), 1736, (16, 8, 8), 217831.59, 1.29977e8, 38),
    ("C3SPP", (8, 16, (3, 5)), 600, (16, 8, 8), 399.068, 666.85184, 30),
    ("C3Ghost", (8, 16, 2), 860, (16, 8, 8), 621.50254, 1198.3095, 66),
    ("SPP", (16, 16, (5, 9, 13)), 688, (16, 8, 8), 106.76661, 137.54063, 12),
    ("SPPF", (16, 16, 5), 688, (16, 8, 8), 106.76661, 137.54063, 12),
    ("Focus", (8, 16, 3), 4640, (16, 4, 4), 95.889267, 131.37836, 6),
    ("GhostConv", (8, 16, 3, 2), 808, (16, 4, 4), 65.274677, 130.72649, 12),
    ("GhostBottleneck", (8, 16, 3, 2), 780, (16, 4, 4), -80.855547, 672.52769, 42),
    ("GhostBottleneck", (16, 16), 476, (16, 8, 8), 382.82584, 878.79916, 24),
    ("MixConv2d", (8, 16, (1, 3), 1, True), 112, (16, 8, 8), 324.07399, 567.73577, 7),
    ("MixConv2d", (8, 16, (1, 3), 1, False), 160, (16, 8, 8), 512.46653, 841.76847, 7),
]


def build(name, args):
    layer = getattr(common, name)(*args).double().eval()
    for norm in layer.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 1e-3
    fill_sine(layer, GAIN)
    return layer


@pytest.mark.parametrize(("name", "args", "params", "shape", "total", "squares", "keys"), GOLDEN)
def test_a_layer_equals_the_reference(name, args, params, shape, total, squares, keys):
    layer = build(name, args)

    with torch.no_grad():
        y = layer(sine_image(args[0], 8, 8))

    assert sum(p.numel() for p in layer.parameters()) == params
    assert len(layer.state_dict()) == keys
    assert tuple(y.shape) == (1, *shape)
    assert y.sum().item() == pytest.approx(total, rel=1e-6)
    assert y.square().sum().item() == pytest.approx(squares, rel=1e-5)


@pytest.mark.parametrize(("name", "args"), [row[:2] for row in GOLDEN])
def test_fusing_changes_no_value_and_leaves_no_norm(name, args):
    parent, x = nn.Sequential(build(name, args)), sine_image(args[0], 8, 8)
    with torch.no_grad():
        expected = parent(x)
        for _ in range(2):  # the second time finds nothing to do
            fuse_submodules(parent)
            torch.testing.assert_close(parent(x), expected, rtol=1e-9, atol=1e-9)

    assert not [part for part in parent.modules() if isinstance(part, nn.BatchNorm2d)]


@pytest.mark.parametrize("name", ["Conv", "BottleneckCSP", "MixConv2d"])
def test_fusing_keeps_dtype_and_memory_format(name):
    layer = getattr(common, name)(8, 16).to(torch.bfloat16, memory_format=torch.channels_last).eval()

    layer.fuse()

    assert {p.dtype for p in layer.parameters()} == {torch.bfloat16}
    weights = [part.weight for part in layer.modules() if isinstance(part, nn.Conv2d)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


def test_contract_and_expand_order_channels_as_the_reference():
    x = torch.arange(32.0)

    contracted = common.Contract(2)(x.view(1, 2, 4, 4))
    expanded = common.Expand(2)(x.view(1, 8, 2, 2))

    assert tuple(contracted.shape) == (1, 8, 2, 2)
    assert contracted.flatten().tolist() == [
        *(0, 2, 8, 10, 16, 18, 24, 26, 1, 3, 9, 11, 17, 19, 25, 27),
        *(4, 6, 12, 14, 20, 22, 28, 30, 5, 7, 13, 15, 21, 23, 29, 31),
    ]
    assert tuple(expanded.shape) == (1, 2, 4, 4)
    assert expanded.flatten().tolist() == [
        *(0, 8, 1, 9, 16, 24, 17, 25, 2, 10, 3, 11, 18, 26, 19, 27),
        *(4, 12, 5, 13, 20, 28, 21, 29, 6, 14, 7, 15, 22, 30, 23, 31),
    ]


def test_concat_joins_channels():
    assert tuple(common.Concat(1)([torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4)]).shape) == (1, 5, 4, 4)


def test_state_dict_keys_of_a_layer_are_those_of_official_checkpoints():
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    conv = ["conv.weight", *(f"bn.{key}" for key in norm)]

    assert list(common.Conv(4, 4).state_dict()) == conv
    assert list(common.MixConv2d(4, 4).state_dict()) == ["m.0.weight", "m.1.weight", *(f"bn.{key}" for key in norm)]
    assert list(common.C3TR(16, 16, 1).m.state_dict()) == [
        *("linear.weight", "linear.bias", "tr.0.q.weight", "tr.0.k.weight", "tr.0.v.weight"),
        *("tr.0.ma.in_proj_weight", "tr.0.ma.in_proj_bias", "tr.0.ma.out_proj.weight", "tr.0.ma.out_proj.bias"),
        *("tr.0.fc1.weight", "tr.0.fc2.weight"),
    ]
    ghost = {key.rsplit(".", 2)[0] for key in common.GhostBottleneck(8, 16, 3, 2).state_dict()}
    assert ghost == {
        *("conv.0.cv1", "conv.0.cv2", "conv.1", "conv.2.cv1", "conv.2.cv2", "shortcut.0", "shortcut.1"),
    }


def test_the_facade_has_every_listed_layer():
    assert [name for name in LAYERS if getattr(common, name, None) is not LAYERS.get(name).cls] == []
