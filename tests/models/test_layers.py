"""Every layer computes what the reference computes: parameters, keys and sums of outputs for weights from a formula."""

import pytest
import torch
from golden_models import sine_image
from layer_cases import V5_CASES, yolov5_layer
from torch import nn

from models import common
from models.registry import LAYERS


@pytest.mark.parametrize(("name", "args", "params", "shape", "total", "squares", "keys"), V5_CASES)
def test_a_layer_equals_the_reference(name, args, params, shape, total, squares, keys):
    layer = yolov5_layer(name, args)

    with torch.no_grad():
        y = layer(sine_image(args[0], 8, 8))

    assert sum(p.numel() for p in layer.parameters()) == params
    assert len(layer.state_dict()) == keys
    assert tuple(y.shape) == (1, *shape)
    assert y.sum().item() == pytest.approx(total, rel=1e-7)
    assert y.square().sum().item() == pytest.approx(squares, rel=4e-6 if name == "C3TR" else 1e-7)  # as it is printed


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
    c3tr = common.C3TR(16, 16, 1)
    assert list(dict.fromkeys(key.split(".")[0] for key in c3tr.state_dict())) == ["cv1", "cv2", "cv3", "m"]
    assert list(c3tr.m.state_dict()) == [
        *("linear.weight", "linear.bias", "tr.0.q.weight", "tr.0.k.weight", "tr.0.v.weight"),
        *("tr.0.ma.in_proj_weight", "tr.0.ma.in_proj_bias", "tr.0.ma.out_proj.weight", "tr.0.ma.out_proj.bias"),
        *("tr.0.fc1.weight", "tr.0.fc2.weight"),
    ]
    assert list(common.BottleneckCSP(4, 4).state_dict()) == [
        *(f"cv1.{key}" for key in conv),
        *("cv2.weight", "cv3.weight"),
        *(f"cv4.{key}" for key in conv),
        *(f"bn.{key}" for key in norm),
        *(f"m.0.{part}.{key}" for part in ("cv1", "cv2") for key in conv),
    ]
    ghost = {key.rsplit(".", 2)[0] for key in common.GhostBottleneck(8, 16, 3, 2).state_dict()}
    assert ghost == {
        *("conv.0.cv1", "conv.0.cv2", "conv.1", "conv.2.cv1", "conv.2.cv2", "shortcut.0", "shortcut.1"),
    }


def test_the_facade_has_every_listed_layer():
    assert [name for name in LAYERS if getattr(common, name, None) is not LAYERS.get(name).cls] == []
