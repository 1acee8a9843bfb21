"""Layers of the YOLOv8 family: sizes worked out by hand, arithmetic by the definition, folding, precision, export."""

import copy
import io

import onnx
import onnxruntime
import pytest
import torch
from golden_models import fill_sine, sine_image
from layer_cases import V8_CASES, yolov8_layer
from torch import nn

from models import common
from models.heads.anchor_free import AnchorFreeDetect
from models.layers.activation import parse_activation, set_activation
from models.layers.conv import Conv
from models.layers.reparam import fold_transposed_bn, fuse_submodules
from models.registry import YOLOV8_LAYERS
from utils.errors import ConfigError
from utils.export.trace import quiet_exporter


@pytest.mark.parametrize(("name", "args", "params", "shape", "keys"), V8_CASES)
def test_a_layer_has_the_size_that_its_definition_gives(name, args, params, shape, keys):
    layer = yolov8_layer(name, args)

    assert sum(parameter.numel() for parameter in layer.parameters()) == params
    assert tuple(layer(sine_image(args[0], 8, 8)).shape) == (1, *shape)
    assert len(layer.state_dict()) == keys


@pytest.mark.parametrize(("name", "args"), [row[:2] for row in V8_CASES])
def test_a_layer_works_in_short_types_and_channels_last(name, args):
    layer, x = yolov8_layer(name, args).float(), sine_image(args[0], 6, 8).float()
    with torch.no_grad():
        expected = layer(x)
        last = copy.deepcopy(layer).to(memory_format=torch.channels_last)
        torch.testing.assert_close(last(x.to(memory_format=torch.channels_last)), expected, rtol=1e-4, atol=1e-4)
        for dtype, relative in ((torch.bfloat16, 0.1), (torch.float16, 0.02)):
            found = last.to(dtype)(x.to(dtype, memory_format=torch.channels_last))

            assert found.dtype == dtype
            assert (found.float() - expected).norm() < relative * expected.norm()
            last = copy.deepcopy(layer).to(memory_format=torch.channels_last)


def convs(prefix, *names):
    """Return the keys of Conv blocks."""
    norm = [f"bn.{key}" for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]
    return [f"{prefix}{name}.{key}" for name in names for key in ("conv.weight", *norm)]


def test_state_dict_keys_are_those_of_official_checkpoints():
    attention, ffn = ("attn.qkv", "attn.proj", "attn.pe"), ("ffn.0", "ffn.1")
    assert list(common.C2f(8, 8, 2).state_dict()) == convs("", "cv1", "cv2", "m.0.cv1", "m.0.cv2", "m.1.cv1", "m.1.cv2")
    assert list(common.C1(8, 8, 2).state_dict()) == convs("", "cv1", "m.0", "m.1")
    assert list(common.C3k2(8, 8, 1, True).state_dict()) == [
        *convs("", "cv1", "cv2"),
        *convs("m.0.", "cv1", "cv2", "cv3", "m.0.cv1", "m.0.cv2", "m.1.cv1", "m.1.cv2"),
    ]
    attending = common.C3k2(8, 8, 1, False, 0.5, True).state_dict()
    assert list(attending) == [
        *convs("", "cv1", "cv2", "m.0.0.cv1", "m.0.0.cv2"),
        *convs("m.0.1.", *attention, *ffn),
    ]
    assert list(common.C2PSA(16, 16).state_dict()) == [*convs("", "cv1", "cv2"), *convs("m.0.", *attention, *ffn)]
    assert list(common.C2fPSA(16, 16).state_dict()) == [*convs("", "cv1", "cv2"), *convs("m.0.", *attention, *ffn)]
    assert list(common.PSA(16, 16).state_dict()) == convs("", "cv1", "cv2", *attention, *ffn)
    assert list(common.SPPF(16, 16, 5, 3, True).state_dict()) == convs("", "cv1", "cv2")
    transposed = [key.replace("conv.", "conv_transpose.").removeprefix(".") for key in convs("", "")]
    assert list(common.ConvTranspose(8, 8).state_dict()) == transposed
    assert list(common.ConvTranspose(8, 8, norm=False).state_dict()) == [
        "conv_transpose.weight",
        "conv_transpose.bias",
    ]


def test_attention_of_each_cell_and_head_follows_its_definition():
    layer, x = yolov8_layer("Attention", (12, 3)), sine_image(12, 2, 3)
    heads = layer.qkv(x).view(3, 8, 6)  # per head 2 channels of queries, 2 of keys, 4 of values

    attended = torch.empty(3, 4, 6, dtype=torch.float64)
    for head, channels in enumerate(heads):
        q, k, v = channels[:2], channels[2:4], channels[4:]
        for cell in range(6):
            weights = torch.stack([(q[:, cell] * k[:, other]).sum() / 2**0.5 for other in range(6)]).softmax(0)
            attended[head, :, cell] = sum(weights[other] * v[:, other] for other in range(6))

    expected = layer.proj(attended.view(1, 12, 2, 3) + layer.pe(heads[:, 4:].reshape(1, 12, 2, 3)))
    torch.testing.assert_close(layer(x), expected)


def test_a_block_of_attention_has_two_residuals_or_none():
    x = sine_image(8, 4, 4)
    layer = yolov8_layer("PSABlock", (8, 0.5, 2))

    first = x + layer.attn(x)
    torch.testing.assert_close(layer(x), first + layer.ffn(first))
    layer = yolov8_layer("PSABlock", (8, 0.5, 2, False))
    torch.testing.assert_close(layer(x), layer.ffn(layer.attn(x)))


def test_halves_are_joined_in_the_order_of_the_definition():
    x = sine_image(16, 4, 4)

    layer = yolov8_layer("C2f", (16, 16, 2))
    a, b = layer.cv1(x)[:, :8], layer.cv1(x)[:, 8:]
    third = layer.m[0](b)
    torch.testing.assert_close(layer(x), layer.cv2(torch.cat((a, b, third, layer.m[1](third)), 1)))

    layer = yolov8_layer("C2", (16, 16, 2))
    a, b = layer.cv1(x)[:, :8], layer.cv1(x)[:, 8:]
    torch.testing.assert_close(layer(x), layer.cv2(torch.cat((layer.m(a), b), 1)))

    layer = yolov8_layer("C2PSA", (16, 16, 2))
    a, b = layer.cv1(x)[:, :8], layer.cv1(x)[:, 8:]
    torch.testing.assert_close(layer(x), layer.cv2(torch.cat((a, layer.m(b)), 1)))

    layer = yolov8_layer("PSA", (16, 16))
    a, b = layer.cv1(x)[:, :8], layer.cv1(x)[:, 8:]
    b = b + layer.attn(b)
    torch.testing.assert_close(layer(x), layer.cv2(torch.cat((a, b + layer.ffn(b)), 1)))


def test_residuals_are_the_defaults_of_each_class():
    assert not common.C2f(8, 8, 1).m[0].add
    assert common.C2(8, 8, 1).m[0].add
    assert common.C3k(8, 8, 1).m[0].add
    assert common.C3k2(8, 8, 1).m[0].add
    assert not common.SPPF(8, 8).add
    assert not common.SPPF(8, 16, 5, 3, True).add  # widths differ


def test_sppf_with_a_number_of_pools_starts_without_an_activation():
    x = sine_image(16, 8, 8)
    plain, linear = yolov8_layer("SPPF", (16, 16, 5)), yolov8_layer("SPPF", (16, 16, 5, 3, True))

    assert isinstance(plain.cv1.act, nn.SiLU)
    assert isinstance(linear.cv1.act, nn.Identity)
    plain.cv1.act = nn.Identity()
    torch.testing.assert_close(linear(x), plain(x) + x)


def test_two_attention_heads_of_64_channels_and_one_below():
    assert [common.C2PSA(2 * c, 2 * c).m[0].attn.heads for c in (32, 64, 128)] == [1, 1, 2]


@pytest.mark.parametrize("cls", [common.C2PSA, common.PSA])
def test_partial_attention_of_other_widths_is_refused(cls):
    with pytest.raises(ConfigError, match=f"{cls.__name__} makes 32 channels of 16"):
        cls(16, 32)


def test_channels_that_heads_cannot_share_are_refused():
    with pytest.raises(ConfigError, match="200 channels cannot be shared by 3 attention heads"):
        common.C2PSA(400, 400)


def test_a_models_activation_reaches_convs_but_not_linear_ones():
    layer = nn.ModuleList([common.C2PSA(16, 16), common.SPPF(16, 16, 5, 3), common.C3k2(16, 16, 1, True)])

    set_activation(layer, parse_activation("nn.ReLU()"))

    kinds = {name: type(part.act) for name, part in layer.named_modules() if isinstance(part, Conv)}
    linear = {name for name, kind in kinds.items() if kind is nn.Identity}
    assert linear == {"0.m.0.attn.qkv", "0.m.0.attn.proj", "0.m.0.attn.pe", "0.m.0.ffn.1", "1.cv1"}
    assert {kind for name, kind in kinds.items() if name not in linear} == {nn.ReLU}


def test_folding_into_a_transposed_convolution_is_exact_for_groups_and_bias():
    conv = nn.ConvTranspose2d(8, 12, 3, 2, 1, output_padding=1, groups=4)
    pair = nn.Sequential(conv, nn.BatchNorm2d(12)).double().eval()
    fill_sine(pair, 1.0)
    x = sine_image(8, 5, 6)

    torch.testing.assert_close(fold_transposed_bn(*pair)(x), pair(x), rtol=1e-12, atol=1e-12)


def test_the_facade_has_every_class_of_the_dialect():
    classes = [YOLOV8_LAYERS.get(name).cls for name in YOLOV8_LAYERS]
    assert [cls.__name__ for cls in classes if getattr(common, cls.__name__, None) is not cls] == []


class Everything(nn.Module):
    """A detector of all the layers, one after another."""

    def __init__(self, depthwise):
        super().__init__()
        self.layers = nn.Sequential(
            Conv(3, 16, 3, 8),
            *(common.KernelBottleneck(16, 16), common.KernelBottleneckCSP(16, 16), common.C2f(16, 16, 2)),
            *(common.C2(16, 16), common.C1(16, 16), common.C3k2(16, 16, 1, True), common.C2PSA(16, 16)),
            *(common.C3k2(16, 16, 1, False, 0.5, True), common.PSA(16, 16), common.C2fPSA(16, 16)),
            *(common.SPPF(16, 16, 5, 3, True), common.ConvTranspose(16, 16)),
        )
        self.down = Conv(16, 16, 3, 2)
        self.head = AnchorFreeDetect(3, [16, 16], depthwise=depthwise)
        self.head.attach([4, 8])

    def forward(self, images):
        fine = self.layers(images)
        return self.head.decode(self.head([fine, self.down(fine)]))


def export(model, opset):
    """Return an ONNX file with open sizes: of the old exporter below opset 18, of the new one from there on."""
    images, file = torch.zeros(2, 3, 64, 96), io.BytesIO()
    names = {"input_names": ["images"], "output_names": ["output0"], "opset_version": opset}
    with quiet_exporter():
        if opset < 18:
            axes = {"images": {0: "batch", 2: "height", 3: "width"}, "output0": {0: "batch", 2: "boxes"}}
            torch.onnx.export(model, (images,), file, dynamo=False, dynamic_axes=axes, **names)
            return file.getvalue()
        batch, rows, columns = (torch.export.Dim(name, min=1) for name in ("batch", "rows", "columns"))
        sizes = ({0: batch, 2: 32 * rows, 3: 32 * columns},)
        program = torch.onnx.export(model, (images,), dynamo=True, dynamic_shapes=sizes, verbose=False, **names)
        return program.model_proto.SerializeToString()


@pytest.mark.parametrize(
    ("opset", "depthwise"), [(12, False), (17, True), pytest.param(18, False, marks=pytest.mark.slow)]
)
def test_an_exported_file_computes_the_same_at_any_size(opset, depthwise):
    model = Everything(depthwise).eval()
    fill_sine(model, 1.0)
    fuse_submodules(model)

    file = export(model, opset)

    assert {entry.version for entry in onnx.load_from_string(file).opset_import if not entry.domain} == {opset}
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for shape in ((2, 3, 64, 96), (1, 3, 128, 32)):
        images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected = model(images)
        found = torch.from_numpy(session.run(["output0"], {"images": images.numpy()})[0])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
