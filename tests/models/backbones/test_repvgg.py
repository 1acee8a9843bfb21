"""RepVGG: published sizes, official features, timm's features, fusing, deployment files."""

import copy
import re

import pytest
import timm
import torch
from backbone_checks import detector_on_meta, largest_error, parameter_count, randomise_norms, with_official_weights
from golden_backbones import feature_error, read_facts, seeded_image
from torch import nn

from models.backbones._weights import load_backbone_weights
from models.backbones.repvgg import RepVGGBlock
from models.registry import BACKBONES
from utils.errors import CheckpointError, ConfigError

VARIANTS = {  # widths, parameters in training form and fused (published table without the classifier)
    "RepVGG-A0": ([48, 48, 96, 192, 1280], 7_827_968, 7_028_384),
    "RepVGG-A1": ([64, 64, 128, 256, 1280], 12_811_264, 11_508_864),
    "RepVGG-A2": ([64, 96, 192, 384, 1408], 26_801_600, 24_090_944),
    "RepVGG-B0": ([64, 64, 128, 256, 1280], 14_536_960, 13_058_048),
    "RepVGG-B1": ([64, 128, 256, 512, 2048], 55_366_016, 49_780_480),
    "RepVGG-B1g2": ([64, 128, 256, 512, 2048], 43_733_376, 39_311_104),
    "RepVGG-B1g4": ([64, 128, 256, 512, 2048], 37_917_056, 34_076_416),
    "RepVGG-B2": ([64, 160, 320, 640, 2560], 86_461_376, 77_754_112),
    "RepVGG-B2g2": ([64, 160, 320, 640, 2560], 68_285_376, 61_395_712),
    "RepVGG-B2g4": ([64, 160, 320, 640, 2560], 59_197_376, 53_216_512),
    "RepVGG-B3": ([64, 192, 384, 768, 2560], 120_524_288, 108_399_872),
    "RepVGG-B3g2": ([64, 192, 384, 768, 2560], 94_350_848, 84_843_776),
    "RepVGG-B3g4": ([64, 192, 384, 768, 2560], 81_264_128, 73_065_728),
    "RepVGG-D2se": ([64, 160, 320, 640, 2560], 130_773_836, 117_826_572),
    "RepVGGplus-L2pse": ([64, 160, 320, 640, 2560], 137_538_224, 124_590_960),
}
TOTALS = {  # of a YOLOv5n detector with 80 classes, training form
    "RepVGG-A0": 10_173_117,
    "RepVGG-A1": 15_166_653,
    "RepVGG-A2": 29_415_165,
    "RepVGG-B0": 16_892_349,
    "RepVGG-B1": 59_434_301,
    "RepVGG-B1g2": 47_801_661,
    "RepVGG-B1g4": 41_985_341,
    "RepVGG-B2": 91_992_445,
    "RepVGG-B2g2": 73_816_445,
    "RepVGG-B2g4": 64_728_445,
    "RepVGG-B3": 126_075_837,
    "RepVGG-B3g2": 99_902_397,
    "RepVGG-B3g4": 86_815_677,
    "RepVGG-D2se": 136_304_905,
    "RepVGGplus-L2pse": 143_069_293,
}
GOLDEN = ["RepVGG-A0", "RepVGG-B1g2"]
IMAGE = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("variant", VARIANTS)
def test_widths_and_parameter_counts_are_the_published_ones(variant):
    channels, parameters, fused_parameters = VARIANTS[variant]
    with torch.device("meta"):
        backbone = BACKBONES.get(variant)().eval()

    assert backbone.reductions == (2, 4, 8, 16, 32)
    assert backbone.feature_channels == channels
    assert parameter_count(backbone) == parameters
    backbone.fuse()
    assert parameter_count(backbone) == fused_parameters


@pytest.mark.parametrize("variant", TOTALS)
def test_a_detector_has_the_published_number_of_parameters(variant):
    assert parameter_count(detector_on_meta("yolov5n-repvgg.yaml", variant)) == TOTALS[variant]


@pytest.mark.parametrize(
    ("size", "variant", "widths", "repeats"),
    [
        ("n", "repvgg_a0", [64, 128, 256], 1),
        ("s", "repvgg_a1", [128, 256, 512], 1),
        ("m", "repvgg_a2", [192, 384, 768], 2),
    ],
)
def test_a_model_file_joins_the_backbone_and_the_neck_of_its_size(size, variant, widths, repeats):
    model = detector_on_meta(f"yolov5{size}-repvgg.yaml")

    with torch.device("meta"):
        assert model.backbone.state_dict().keys() == BACKBONES.get(variant)(reductions=(8, 16, 32)).state_dict().keys()
    assert model.backbone.reductions == (8, 16, 32)
    assert [conv.in_channels for conv in model.head.m] == widths
    assert len(model.model[-2].m) == repeats


@pytest.mark.parametrize("variant", GOLDEN)
def test_features_are_the_official_ones_before_and_after_fusing(variant):
    backbone = with_official_weights("repvgg", variant)
    fused = copy.deepcopy(backbone)
    fused.fuse()

    for size, levels in read_facts("repvgg", variant)["taps"]["stage"]["stats"].items():
        image = seeded_image(*map(int, size.split("x")))
        for module, tolerance in ((backbone, 1e-5), (fused, 2e-4)):
            with torch.no_grad():
                maps = module(image)
            assert len(maps) == len(levels) == 5
            for feature, stats in zip(maps, levels.values(), strict=True):
                assert feature_error(feature, stats) <= tolerance


@pytest.mark.parametrize(
    "variant",
    [*GOLDEN, *(pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS if name not in GOLDEN)],
)
def test_fusing_is_exact_in_float64_and_keeps_the_dtype(variant):
    backbone = randomise_norms(BACKBONES.get(variant)().double(), IMAGE.double())
    fused = copy.deepcopy(backbone)
    fused.fuse()

    assert {parameter.dtype for parameter in fused.parameters()} == {torch.float64}
    assert largest_error(fused, backbone, IMAGE.double()) <= 1e-9


def test_a_fused_network_has_only_the_deployment_keys():
    backbone = BACKBONES.get("RepVGG-A0")().eval()
    backbone.fuse()
    backbone.fuse()  # a second time changes nothing

    blocks = [f"stage{stage}.{i}" for stage, depth in enumerate((2, 4, 14, 1), start=1) for i in range(depth)]
    expected = {f"{block}.rbr_reparam.{leaf}" for block in ["stage0", *blocks] for leaf in ("weight", "bias")}
    assert backbone.state_dict().keys() == expected


def test_a_gate_survives_fusing():
    with torch.device("meta"):
        backbone = BACKBONES.get("RepVGG-D2se")().eval()
    backbone.fuse()

    leaves = {key.removeprefix("stage1.0.") for key in backbone.state_dict() if key.startswith("stage1.0.")}
    gate = {f"se.{module}.{leaf}" for module in ("down", "up") for leaf in ("weight", "bias")}
    assert leaves == gate | {"rbr_reparam.weight", "rbr_reparam.bias"}


def test_repvggplus_halves_the_third_stage_and_gates_after_the_relu():
    with torch.device("meta"):
        backbone = BACKBONES.get("RepVGGplus-L2pse")(reductions=(4, 16))

    keys = backbone.state_dict().keys()
    assert {key.split(".")[0] for key in keys} == {"stage0", "stage1", "stage2", "stage3_first", "stage3_second"}
    assert {"stage0.post_se.down.weight", "stage3_second.blocks.0.rbr_identity.weight"} <= keys
    assert "stage3_first.blocks.11.rbr_dense.conv.weight" in keys
    assert "stage3_first.blocks.12.rbr_dense.conv.weight" not in keys
    assert backbone.stage0.post_se.down.weight.shape == (16, 64, 1, 1)
    assert not any(".se." in key for key in keys)


def timm_key(key: str) -> str:
    """Return timm's name for one of our keys."""
    key = key.replace("stage0.", "stem.")
    key = re.sub(r"stage([1-4])\.", lambda m: f"stages_{int(m[1]) - 1}.", key)
    key = key.replace("rbr_dense", "conv_kxk").replace("rbr_1x1", "conv_1x1").replace("rbr_identity", "identity")
    return key.replace("se.down", "attn.fc1").replace("se.up", "attn.fc2")


@pytest.mark.parametrize(
    "variant",
    [
        "repvgg_a0",
        "repvgg_b1g4",
        *(
            pytest.param(f"repvgg_{name}", marks=pytest.mark.slow)
            for name in ("a1", "a2", "b0", "b1", "b2", "b2g4", "b3", "b3g4", "d2se")
        ),
    ],
)
def test_features_equal_those_of_timm(variant):
    ours = randomise_norms(BACKBONES.get(variant)(), IMAGE)
    with torch.device("meta"):
        theirs = timm.create_model(variant, features_only=True).eval()

    theirs.load_state_dict({timm_key(key): value for key, value in ours.state_dict().items()}, assign=True)

    assert largest_error(ours, theirs, IMAGE) <= 1e-5


def test_every_second_block_has_groups_in_both_branches():
    with torch.device("meta"):
        backbone = BACKBONES.get("RepVGG-B1g2")()

    blocks = [backbone.stage0, *(block for i in range(1, 5) for block in getattr(backbone, f"stage{i}"))]
    grouped = [index for index, block in enumerate(blocks) if block.rbr_dense.conv.groups == 2]
    assert grouped == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26]
    assert all(block.rbr_dense.conv.groups == block.rbr_1x1.conv.groups for block in blocks)


def test_a_gate_averages_the_whole_map_whatever_its_shape():
    block = RepVGGBlock(16, 16, gate="before ReLU").eval()
    x = torch.rand(1, 16, 2, 6)

    tall = x.reshape(1, 16, 6, 2)

    assert torch.allclose(block.se(x).flatten(), block.se(tall).flatten())
    expected = torch.sigmoid(block.se.up(nn.functional.relu(block.se.down(x.flatten(2).mean(2)[..., None, None]))))
    assert torch.allclose(block.se(x) / x, expected.expand_as(x), rtol=1e-5)


def test_a_stride_two_block_between_equal_widths_has_no_identity():
    with torch.device("meta"):
        backbone = BACKBONES.get("RepVGG-A0")()  # 48 → 48 channels from stem to stage 1

    assert backbone.stage1[0].rbr_identity is None
    assert backbone.stage1[1].rbr_identity is not None


def test_nothing_deeper_than_the_coarsest_wanted_level_is_built():
    torch.manual_seed(0)
    whole = BACKBONES.get("repvgg_a0")().eval()
    part = BACKBONES.get("repvgg_a0")(reductions=(16, 8)).eval()

    part.load_state_dict({key: value for key, value in whole.state_dict().items() if key in part.state_dict()})

    assert part.reductions == (8, 16)
    assert part.feature_channels == [96, 192]
    assert [name for name, _ in part.named_children()] == ["stage0", "stage1", "stage2", "stage3"]
    with torch.no_grad():
        for found, expected in zip(part(IMAGE), whole(IMAGE)[2:4], strict=True):
            assert torch.equal(found, expected)


def test_a_float32_training_step_in_channels_last_survives_the_stem():
    backbone = BACKBONES.get("repvgg_a0")(reductions=(2,))
    image = torch.rand(2, 3, 128, 128)
    gradients = []
    for memory_format in (
        torch.contiguous_format,
        torch.channels_last,
    ):  # the latter kills the process, see ThinPointwise
        backbone.to(memory_format=memory_format).zero_grad()
        backbone(image.to(memory_format=memory_format))[0].square().mean().backward()
        gradients.append(backbone.stage0.rbr_1x1.conv.weight.grad.clone())

    assert torch.allclose(*gradients, rtol=1e-3, atol=1e-6)


def test_a_deployment_file_is_refused(tmp_path):
    entry = BACKBONES.get("repvgg_a0")
    fused = entry().eval()
    fused.fuse()
    torch.save(fused.state_dict(), tmp_path / "deploy.pth")

    with pytest.raises(CheckpointError, match=r"deploy.pth: .* deployment form \(stage0.rbr_reparam.weight\)"):
        load_backbone_weights(entry(), entry, tmp_path / "deploy.pth", "repvgg_a0")


def test_an_impossible_option_is_refused():
    with pytest.raises(ConfigError, match=r"reductions \[64\]"):
        BACKBONES.get("repvgg_a0")(reductions=(64,))
