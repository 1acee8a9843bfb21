"""EMO: published sizes, official features, the paper's formulation, traces at other sizes, fusing."""

import copy
import itertools

import pytest
import torch
from backbone_checks import detector_on_meta, largest_error, parameter_count, with_official_weights
from golden_backbones import feature_error, read_facts, seeded_image
from torch import nn
from torch.nn import functional as F

from models.backbones.emo import EMO, DepthwiseConv, InvertedResidual, LayerNorm2d, Stage
from models.detector import DetectionModel
from models.registry import BACKBONES
from tools.bench_emo import PlainBlock, PlainLayerNorm, plain
from utils.errors import ConfigError
from utils.export.onnx import export_onnx

VARIANTS = {  # channels from /4, parameters in training form and fused, of a YOLOv5n detector (published tables)
    "emo_1m": ([32, 48, 80, 168], 1_192_168, 1_187_680, 2_144_365),
    "emo_2m": ([32, 48, 120, 200], 2_176_472, 2_169_936, 3_156_093),
    "emo_5m": ([48, 72, 160, 288], 4_819_848, 4_808_864, 5_872_741),
    "emo_6m": ([48, 72, 160, 320], 5_847_496, 5_835_296, 6_926_533),
}
GOLDEN = ["EMO_1M", "EMO_5M"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_channels_and_parameter_counts_are_the_published_ones(variant):
    channels, parameters, fused_parameters, detector_parameters = VARIANTS[variant]
    with torch.device("meta"):
        backbone = BACKBONES.get(variant)().eval()
        raw = BACKBONES.get(variant)(taps="raw")

    assert backbone.reductions == (2, 4, 8, 16, 32)
    assert backbone.feature_channels == [24, *channels]
    assert parameter_count(backbone) == parameters
    assert parameter_count(raw) == parameters - 2 * channels[-1]  # without weight and bias of the final norm
    assert parameter_count(detector_on_meta("yolov5n-emo.yaml", variant)) == detector_parameters
    backbone.fuse()
    assert parameter_count(backbone) == fused_parameters


@pytest.mark.parametrize("taps", ["norm", "raw"])
@pytest.mark.parametrize("variant", GOLDEN)
def test_features_are_the_official_ones_before_and_after_fusing(variant, taps):
    backbone = with_official_weights("emo", variant)
    if taps == "raw":
        raw = BACKBONES.get(variant)(taps="raw").eval()
        raw.load_state_dict({key: value for key, value in backbone.state_dict().items() if key in raw.state_dict()})
        backbone = raw
    fused = copy.deepcopy(backbone)
    fused.fuse()

    for size, levels in read_facts("emo", variant)["taps"][taps]["stats"].items():
        image = seeded_image(*map(int, size.split("x")))
        for module, tolerance in ((backbone, 1e-5), (fused, 2e-4)):
            with torch.no_grad():
                maps = module(image)
            assert len(maps) == len(levels) == 5
            for feature, stats in zip(maps, levels.values(), strict=True):
                assert feature_error(feature, stats) <= tolerance


def test_blocks_equal_the_papers_formulation_in_float64_also_between_multiples_of_the_window():
    backbone = with_official_weights("emo", "EMO_1M").double()
    image = torch.rand(2, 3, 192, 320, dtype=torch.float64)  # maps of 12×20 and 6×10 in the stages with attention

    assert largest_error(plain(copy.deepcopy(backbone)), backbone, image) <= 1e-9


@pytest.mark.parametrize(("height", "width"), [(20, 13), (3, 5), (14, 7)])
def test_gradients_equal_those_of_the_papers_formulation(height, width):
    torch.manual_seed(0)
    block = BACKBONES.get("emo_1m")().stage3[1].double().eval()
    image = torch.rand(2, 80, height, width, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(2, 80, height, width, dtype=torch.float64)
    inputs = [image, *block.parameters()]

    expected = torch.autograd.grad((PlainBlock(block)(image) * weight).sum(), inputs)
    found = torch.autograd.grad((block(image) * weight).sum(), inputs)

    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_one_pixel_attends_to_every_seventh_of_its_row_and_column():
    """On a 14×14 map a window holds the pixels of equal parity, so a change reaches those and no others."""
    attention = BACKBONES.get("emo_1m")().stage3[1].qk
    x = torch.rand(1, 80, 14, 14)
    changed = x.clone()
    changed[:, :, 5, 8] += 1

    with torch.no_grad():
        differs = (attention(changed) - attention(x)).abs().amax((0, 1)) > 0

    expected = torch.zeros(14, 14, dtype=torch.bool)
    expected[1::2, 0::2] = True  # 5 is odd, 8 is even; window = (5 mod 2, 8 mod 2)
    assert torch.equal(differs, expected)


def test_a_larger_window_takes_the_same_weights():
    small = with_official_weights("emo", "EMO_1M")
    large = with_official_weights("emo", "EMO_1M", window=10)
    image = seeded_image(224, 224)

    with torch.no_grad():
        pairs = list(zip(small(image), large(image), strict=True))

    assert all(torch.equal(a, b) for a, b in pairs[:3])  # the stages without attention
    assert not torch.allclose(*pairs[3])  # 14×14: four windows of 7×7, or of 10×10 with padding


def test_layer_norms_of_channels_equal_the_plain_ones():
    norm = LayerNorm2d(6)
    nn.init.normal_(norm.norm.weight)
    nn.init.normal_(norm.norm.bias)
    x = torch.rand(2, 6, 3, 5)

    torch.testing.assert_close(norm(x), PlainLayerNorm(norm)(x))


def test_fusing_is_exact_in_float64_leaves_no_batch_norm_and_can_be_repeated():
    backbone = with_official_weights("emo", "EMO_1M").double()
    fused = copy.deepcopy(backbone)
    fused.fuse()
    fused.fuse()

    assert {parameter.dtype for parameter in fused.parameters()} == {torch.float64}
    assert largest_error(fused, backbone, seeded_image(64, 96).double()) <= 1e-9
    assert not [m for m in fused.modules() if isinstance(m, nn.BatchNorm2d)]
    norms = [name for name, module in fused.named_modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 8 + 3 + 1  # the blocks of stages 3 and 4, and the last
    assert "stage1.0.conv_local.conv.bias" in fused.state_dict()


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning", "ignore::torch.jit.TracerWarning")
def test_a_trace_without_padding_is_right_where_padding_is_needed():
    backbone = BACKBONES.get("emo_1m")(reductions=(16, 32)).eval()

    with torch.no_grad():
        traced = torch.jit.trace(backbone, torch.rand(1, 3, 224, 224), strict=False)  # maps of 14×14 and 7×7
        for height, width in ((320, 320), (416, 640)):
            image = torch.rand(1, 3, height, width)
            for found, expected in zip(traced(image), backbone(image), strict=True):
                torch.testing.assert_close(found, expected)


@pytest.mark.slow
def test_onnx_traced_without_padding_is_right_where_padding_is_needed(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    stages = (Stage(1, 8, 2), Stage(1, 8, 2), Stage(2, 16, 2, head_width=8), Stage(2, 16, 2, head_width=8))
    backbone = EMO(stages, drop_path=0, reductions=(16, 32)).eval()
    sizes = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)

    image = torch.rand(2, 3, 448, 224)  # maps of 28×14 and 14×7
    file = tmp_path / "emo.onnx"
    torch.onnx.export(backbone, (image,), file, dynamo=True, dynamic_shapes=(sizes,), verbose=False)

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for height, width in ((320, 320), (416, 640), (64, 96)):
        image = torch.rand(1, 3, height, width)
        found = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        with torch.no_grad():
            expected = backbone(image)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(ours), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("traced_at", [(224, 224), (320, 320), (416, 640)])
def test_onnx_of_a_detector_is_small_and_right_at_every_size(tmp_path, traced_at):
    onnxruntime = pytest.importorskip("onnxruntime")
    detector = DetectionModel("yolov5n-emo.yaml").eval()

    report = export_onnx(detector, tmp_path / "model.onnx", traced_at, dynamic=True)

    session = onnxruntime.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    assert report.nodes <= 700
    for height, width in ((224, 224), (320, 320), (416, 640)):
        image = torch.rand(1, 3, height, width)
        with torch.no_grad():
            expected = detector(image)[0]
        found = torch.from_numpy(session.run(None, {"images": image.numpy()})[0])
        assert (found - expected)[..., :4].abs().max() <= 1e-3  # px
        assert (found - expected)[..., 4:].abs().max() <= 1e-4


def test_depthwise_convolutions_that_are_slow_in_bfloat16_compute_in_float32():
    torch.manual_seed(0)
    strided, plain_one = DepthwiseConv(8, kernel=3, stride=2), DepthwiseConv(8, kernel=3, stride=1)
    x = torch.rand(1, 8, 12, 12).bfloat16()

    with torch.autocast("cpu", torch.bfloat16):
        found = strided(x)
        assert plain_one(x).dtype == torch.bfloat16

    assert torch.equal(found, F.conv2d(x.float(), strided.weight, stride=2, padding=1, groups=8))


def test_nothing_deeper_than_the_coarsest_wanted_level_is_built():
    torch.manual_seed(0)
    whole = BACKBONES.get("emo_2m")().eval()
    part = BACKBONES.get("emo_2m")(reductions=(16, 8)).eval()
    part.load_state_dict({key: value for key, value in whole.state_dict().items() if key in part.state_dict()})
    image = torch.rand(1, 3, 64, 96)

    assert part.reductions == (8, 16)
    assert part.feature_channels == [48, 120]
    assert {key.partition(".")[0] for key in part.state_dict()} == {"stage0", "stage1", "stage2", "stage3"}
    with torch.no_grad():
        for found, expected in zip(part(image), whole(image)[2:4], strict=True):
            assert torch.equal(found, expected)


def test_drop_path_grows_linearly_over_all_blocks_also_of_a_part():
    with torch.device("meta"):
        backbone = BACKBONES.get("emo_1m")(reductions=(8, 16))

    blocks = [module for module in backbone.modules() if isinstance(module, InvertedResidual)]
    assert [b.drop_path.rate for b in blocks] == pytest.approx([0.04036 * i / 14 for i in range(12)])


def test_only_blocks_of_the_late_stages_that_keep_the_shape_attend():
    with torch.device("meta"):
        backbone = BACKBONES.get("emo_1m")()

    for stage, position in itertools.product((1, 2, 3, 4), (0, 1)):
        block = backbone.get_submodule(f"stage{stage}")[position]
        assert hasattr(block.qk, "heads") == (stage > 2 and position > 0)
        assert isinstance(block.v.act, nn.GELU if stage > 2 else nn.SiLU)


@pytest.mark.parametrize("option", [{"taps": "last"}, {"reductions": (8, 64)}])
def test_an_impossible_option_is_refused(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        BACKBONES.get("emo_1m")(**option)
