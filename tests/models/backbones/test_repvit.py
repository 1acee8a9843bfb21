"""RepViT: published sizes, official features, timm's features, legacy weight files, fusing."""

import copy
import re

import pytest
import timm
import torch
from backbone_checks import detector_on_meta, largest_error, parameter_count, randomise_norms, with_official_weights
from golden_backbones import feature_error, read_facts, seeded_image

import models.backbones.repvit  # noqa: F401 - lists the variants
from models.backbones._weights import load_backbone_weights
from models.registry import BACKBONES
from utils.errors import ConfigError

VARIANTS = {  # widths, parameters in training form and fused (published table without the classifier)
    "repvit_m1": ([48, 96, 192, 384], 4_713_712, 4_682_056),
    "repvit_m2": ([64, 128, 256, 512], 7_769_936, 7_731_312),
    "repvit_m3": ([64, 128, 256, 512], 9_654_784, 9_602_720),
    "repvit_m0_6": ([40, 80, 160, 320], 2_165_652, 2_147_072),
    "repvit_m0_9": ([48, 96, 192, 384], 4_717_792, 4_682_056),
    "repvit_m1_0": ([56, 112, 224, 448], 6_403_004, 6_361_312),
    "repvit_m1_1": ([64, 128, 256, 512], 7_774_864, 7_731_312),
    "repvit_m1_5": ([64, 128, 256, 512], 13_616_384, 13_536_992),
    "repvit_m2_3": ([80, 160, 320, 640], 22_404_232, 22_285_792),
}
TOTALS = {  # of a YOLOv5n detector with 80 classes, training form
    "repvit_m1": 5_853_741,
    "repvit_m2": 9_043_213,
    "repvit_m3": 10_928_061,
    "repvit_m0_6": 3_245_201,
    "repvit_m0_9": 5_857_821,
    "repvit_m1_0": 7_607_609,
    "repvit_m1_1": 9_048_141,
    "repvit_m1_5": 14_889_661,
    "repvit_m2_3": 23_827_141,
}
GOLDEN = ["repvit_m0_9", "repvit_m1"]  # the current and the legacy structure
IMAGE = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("variant", VARIANTS)
def test_widths_and_parameter_counts_are_the_published_ones(variant):
    channels, parameters, fused_parameters = VARIANTS[variant]
    with torch.device("meta"):
        backbone = BACKBONES.get(variant)().eval()

    assert backbone.reductions == (4, 8, 16, 32)
    assert backbone.feature_channels == channels
    assert parameter_count(backbone) == parameters
    backbone.fuse()
    assert parameter_count(backbone) == fused_parameters


@pytest.mark.parametrize("variant", TOTALS)
def test_a_detector_has_the_published_number_of_parameters(variant):
    assert parameter_count(detector_on_meta("yolov5n-repvit.yaml", variant)) == TOTALS[variant]


@pytest.mark.parametrize(
    ("size", "variant", "widths", "repeats"),
    [
        ("n", "repvit_m0_6", [64, 128, 256], 1),
        ("s", "repvit_m0_9", [128, 256, 512], 1),
        ("m", "repvit_m1_1", [192, 384, 768], 2),
    ],
)
def test_a_model_file_joins_the_backbone_and_the_neck_of_its_size(size, variant, widths, repeats):
    model = detector_on_meta(f"yolov5{size}-repvit.yaml")

    with torch.device("meta"):
        assert model.backbone.state_dict().keys() == BACKBONES.get(variant)(reductions=(8, 16, 32)).state_dict().keys()
    assert model.backbone.reductions == (8, 16, 32)
    assert [conv.in_channels for conv in model.head.m] == widths
    assert len(model.model[-2].m) == repeats


@pytest.mark.parametrize("taps", ["last", "pre"])
@pytest.mark.parametrize("variant", GOLDEN)
def test_features_are_the_official_ones_before_and_after_fusing(variant, taps):
    backbone = with_official_weights("repvit", variant, taps=taps)
    fused = copy.deepcopy(backbone)
    fused.fuse()

    for size, levels in read_facts("repvit", variant)["taps"][taps]["stats"].items():
        image = seeded_image(*map(int, size.split("x")))
        for module, tolerance in ((backbone, 1e-5), (fused, 2e-4)):
            with torch.no_grad():
                maps = module(image)
            assert len(maps) == len(levels) == 4
            for feature, stats in zip(maps, levels.values(), strict=True):
                assert feature_error(feature, stats) <= tolerance


@pytest.mark.parametrize("variant", GOLDEN)
def test_fusing_is_exact_in_float64_and_keeps_the_dtype(variant):
    backbone = with_official_weights("repvit", variant).double()
    fused = copy.deepcopy(backbone)
    fused.fuse()

    assert {parameter.dtype for parameter in fused.parameters()} == {torch.float64}
    assert largest_error(fused, backbone, IMAGE.double()) <= 1e-9


def test_a_fused_block_has_only_convolutions_with_bias_under_the_deployment_keys():
    backbone = BACKBONES.get("repvit_m0_9")().eval()
    backbone.fuse()
    backbone.fuse()  # a second time changes nothing

    keys = backbone.state_dict().keys()
    modules = ["features.0.0", "features.0.2"]
    for index in range(1, 27):  # blocks 4, 8 and 24 halve the size
        modules += [f"features.{index}.token_mixer.0", *[f"features.{index}.channel_mixer.m.{i}" for i in (0, 2)]]
        modules += [f"features.{index}.token_mixer.2"] if index in (4, 8, 24) else []
    convolutions = {f"{module}.{leaf}" for module in modules for leaf in ("weight", "bias")}
    assert {key for key in keys if ".fc1." not in key and ".fc2." not in key} == convolutions
    assert backbone.features[1].token_mixer[0].weight.shape == (48, 1, 3, 3)


def timm_key(key: str, depths: tuple[int, ...]) -> str:
    """Return timm's name for one of our keys; it counts the last block of a stage to the next downsampling."""
    _, index, rest = key.split(".", 2)
    index = int(index)
    if index == 0:
        return f"stem.conv{1 if rest[0] == '0' else 2}{rest[1:]}"
    rest = re.sub(r"channel_mixer\.m\.([02])", lambda m: f"channel_mixer.conv{1 if m[1] == '0' else 2}", rest)
    stage, index = 0, index - 1
    while index > depths[stage]:  # past the stage's blocks, its extra block and the downsampling
        index -= depths[stage] + 2
        stage += 1
    if index == -1:
        rest = rest.replace("token_mixer.0", "spatial_downsample").replace("token_mixer.2", "channel_downsample")
        return f"stages_{stage}.downsample.{rest.replace('channel_mixer', 'ffn')}"
    rest = rest.replace("token_mixer.0", "token_mixer").replace("token_mixer.1", "se")
    if index == depths[stage] and stage < 3:
        return f"stages_{stage + 1}.downsample.pre_block.{rest}"
    return f"stages_{stage}.blocks.{index}.{rest}"


@pytest.mark.parametrize(
    ("variant", "depths"),
    [
        ("repvit_m0_9", (2, 2, 14, 2)),
        ("repvit_m1", (2, 2, 14, 2)),
        pytest.param("repvit_m2", (2, 2, 12, 2), marks=pytest.mark.slow),
        pytest.param("repvit_m3", (4, 4, 18, 2), marks=pytest.mark.slow),
        pytest.param("repvit_m1_0", (2, 2, 14, 2), marks=pytest.mark.slow),
        pytest.param("repvit_m1_1", (2, 2, 12, 2), marks=pytest.mark.slow),
        pytest.param("repvit_m1_5", (4, 4, 24, 4), marks=pytest.mark.slow),
        pytest.param("repvit_m2_3", (6, 6, 34, 2), marks=pytest.mark.slow),
    ],
)
def test_features_equal_those_of_timm(variant, depths):
    ours = randomise_norms(BACKBONES.get(variant)(taps="pre"), IMAGE)
    theirs = timm.create_model(variant, features_only=True).eval()

    theirs.load_state_dict({timm_key(key, depths): value for key, value in ours.state_dict().items()})

    assert largest_error(ours, theirs, IMAGE) <= 1e-5


def test_a_legacy_weight_file_gives_the_same_features_in_the_current_structure():
    legacy = with_official_weights("repvit", "repvit_m1").double()
    current = BACKBONES.get("repvit_m0_9")().eval().double()

    current.load_state_dict(BACKBONES.get("repvit_m0_9").convert(legacy.state_dict(), current))

    assert largest_error(current, legacy, IMAGE.double()) <= 1e-12


def test_a_legacy_file_fills_a_backbone_of_few_levels(tmp_path):
    legacy = with_official_weights("repvit", "repvit_m1")
    torch.save({"model": legacy.state_dict()}, tmp_path / "repvit.pth")
    current = BACKBONES.get("repvit_m0_9")(reductions=(8, 16)).eval()

    report = load_backbone_weights(current, BACKBONES.get("repvit_m0_9"), tmp_path / "repvit.pth", "repvit_m0_9")

    assert report.matched == list(current.state_dict())
    with torch.no_grad():
        for found, expected in zip(current(IMAGE), legacy(IMAGE)[1:3], strict=True):
            assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_converting_leaves_a_current_weight_file_as_it_is():
    backbone = BACKBONES.get("repvit_m0_9")()
    state = backbone.state_dict()

    converted = BACKBONES.get("repvit_m0_9").convert(state, backbone)

    assert converted.keys() == state.keys()
    assert all(converted[key] is state[key] for key in state)


@pytest.mark.parametrize(("taps", "deepest"), [("last", 23), ("pre", 22)])
def test_nothing_deeper_than_the_coarsest_wanted_level_is_built(taps, deepest):
    torch.manual_seed(0)
    whole = BACKBONES.get("repvit_m0_9")(taps=taps).eval()
    part = BACKBONES.get("repvit_m0_9")(taps=taps, reductions=(16, 8)).eval()

    part.load_state_dict({key: value for key, value in whole.state_dict().items() if key in part.state_dict()})

    assert part.reductions == (8, 16)
    assert part.feature_channels == [96, 192]
    assert len(part.features) == deepest + 1
    with torch.no_grad():
        for found, expected in zip(part(IMAGE), whole(IMAGE)[1:3], strict=True):
            assert torch.equal(found, expected)


def test_a_new_channel_mixer_is_the_identity():
    block = BACKBONES.get("repvit_m0_6")().features[1]
    x = torch.rand(2, 40, 8, 8)

    assert torch.equal(block.channel_mixer(x), x)


@pytest.mark.parametrize("option", [{"taps": "first"}, {"reductions": (8, 64)}, {"reductions": ()}])
def test_an_impossible_option_is_refused(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        BACKBONES.get("repvit_m0_6")(**option)
