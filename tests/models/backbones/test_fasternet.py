"""FasterNet: published sizes, official features, timm's features, fork norms, fusing."""

import copy
import re

import pytest
import timm
import torch
from backbone_checks import detector_on_meta, largest_error, parameter_count, randomise_norms, with_official_weights
from golden_backbones import feature_error, read_facts, seeded_image
from torch import nn

import models.backbones.fasternet  # noqa: F401 - lists the variants
from models.backbones._weights import load_backbone_weights
from models.registry import BACKBONES
from utils.errors import ConfigError

VARIANTS = {  # first width, parameters in training form and fused (published table without the classifier)
    "fasternet_t0": (40, 2_216_100, 2_211_260),
    "fasternet_t1": (64, 5_660_928, 5_653_184),
    "fasternet_t2": (96, 12_721_728, 12_710_112),
    "FasterNet": (96, 12_721_728, 12_710_112),
    "fasternet_s": (128, 28_593_152, 28_572_544),
    "fasternet_m": (144, 50_770_224, 50_737_248),
    "fasternet_l": (192, 90_223_872, 90_179_904),
}
TOTALS = {  # of a YOLOv5n detector with 80 classes, training form
    "fasternet_t0": 3_295_649,
    "fasternet_t1": 6_934_205,
    "fasternet_t2": 14_310_653,
    "fasternet_s": 30_563_261,
    "fasternet_m": 52_955_501,
    "fasternet_l": 93_152_957,
}
GOLDEN = ["fasternet_t0", "fasternet_t2"]  # GELU and ReLU
IMAGE = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("variant", VARIANTS)
def test_widths_and_parameter_counts_are_the_published_ones(variant):
    width, parameters, fused_parameters = VARIANTS[variant]
    with torch.device("meta"):
        backbone = BACKBONES.get(variant)().eval()
        raw = BACKBONES.get(variant)(taps="raw")

    assert backbone.reductions == (4, 8, 16, 32)
    assert backbone.feature_channels == [width, 2 * width, 4 * width, 8 * width]
    assert parameter_count(backbone) == parameters
    assert parameter_count(raw) == parameters - 2 * 15 * width  # one weight and one bias for each channel of a level
    backbone.fuse()
    assert parameter_count(backbone) == fused_parameters


@pytest.mark.parametrize("variant", TOTALS)
def test_a_detector_has_the_published_number_of_parameters_less_the_norm_that_it_does_not_read(variant):
    width = VARIANTS[variant][0]

    detector = detector_on_meta("yolov5n-fasternet.yaml", variant)

    # the published total has a norm for /4, one weight and one bias per channel; no row reads /4, so it is not built
    assert parameter_count(detector) == TOTALS[variant] - 2 * width


@pytest.mark.parametrize(
    ("size", "variant", "widths", "repeats"),
    [
        ("n", "fasternet_t0", [64, 128, 256], 1),
        ("s", "fasternet_t1", [128, 256, 512], 1),
        ("m", "fasternet_t2", [192, 384, 768], 2),
    ],
)
def test_a_model_file_joins_the_backbone_and_the_neck_of_its_size(size, variant, widths, repeats):
    model = detector_on_meta(f"yolov5{size}-fasternet.yaml")

    with torch.device("meta"):
        assert model.backbone.state_dict().keys() == BACKBONES.get(variant)(reductions=(8, 16, 32)).state_dict().keys()
    assert model.backbone.reductions == (8, 16, 32)
    assert [conv.in_channels for conv in model.head.m] == widths
    assert len(model.model[-2].m) == repeats


@pytest.mark.parametrize("taps", ["fork", "raw"])
@pytest.mark.parametrize("variant", GOLDEN)
def test_features_are_the_official_ones_before_and_after_fusing(variant, taps):
    backbone = with_official_weights("fasternet", variant, taps=taps)
    fused = copy.deepcopy(backbone)
    fused.fuse()

    for size, levels in read_facts("fasternet", variant)["taps"][taps]["stats"].items():
        image = seeded_image(*map(int, size.split("x")))
        for module, tolerance in ((backbone, 1e-5), (fused, 2e-4)):
            with torch.no_grad():
                maps = module(image)
            assert len(maps) == len(levels) == 4
            for feature, stats in zip(maps, levels.values(), strict=True):
                assert feature_error(feature, stats) <= tolerance


@pytest.mark.parametrize("variant", GOLDEN)
def test_fusing_is_exact_in_float64_and_keeps_the_dtype(variant):
    backbone = with_official_weights("fasternet", variant).double()
    fused = copy.deepcopy(backbone)
    fused.fuse()

    assert {parameter.dtype for parameter in fused.parameters()} == {torch.float64}
    assert largest_error(fused, backbone, IMAGE.double()) <= 1e-9


def test_fusing_leaves_only_the_fork_norms_and_adds_the_deployment_keys():
    backbone = BACKBONES.get("fasternet_t0")().eval()
    before = backbone.state_dict().keys()
    backbone.fuse()
    backbone.fuse()  # a second time changes nothing

    after = backbone.state_dict().keys()
    blocks = [f"stages.{2 * stage}.blocks.{i}" for stage, depth in enumerate((1, 2, 8, 2)) for i in range(depth)]
    new = {f"{block}.mlp.0.bias" for block in blocks} | {f"stages.{i}.reduction.bias" for i in (1, 3, 5)}
    assert after - before == new | {"patch_embed.proj.bias"}
    norms = [name for name, module in backbone.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms == ["norm0", "norm2", "norm4", "norm6"]


def timm_key(key: str) -> str:
    """Return timm's name for one of our keys; its stages hold the downsampling before them."""
    key = re.sub(r"stages\.([135])", lambda m: f"stages_{(int(m[1]) + 1) // 2}.downsample", key)
    return re.sub(r"stages\.([0246])", lambda m: f"stages_{int(m[1]) // 2}", key)


@pytest.mark.parametrize(
    "variant",
    [
        "fasternet_t0",
        *(pytest.param(f"fasternet_{size}", marks=pytest.mark.slow) for size in ("t1", "t2", "s", "m", "l")),
    ],
)
def test_features_equal_those_of_timm(variant):
    ours = randomise_norms(BACKBONES.get(variant)(taps="raw"), IMAGE)
    theirs = timm.create_model(variant, features_only=True).eval()

    theirs.load_state_dict({timm_key(key): value for key, value in ours.state_dict().items()})

    assert largest_error(ours, theirs, IMAGE) <= 1e-5


def test_a_classifier_file_keeps_the_new_fork_norms_and_a_detector_file_brings_its_own():
    entry = BACKBONES.get("fasternet_t0")
    fork = randomise_norms(entry(reductions=(8, 16, 32)), IMAGE)
    raw = entry(taps="raw", reductions=(8, 16, 32))

    from_classifier = entry.convert(raw.state_dict(), fork)
    from_detector = entry.convert(entry().state_dict(), fork)

    assert from_classifier.keys() == from_detector.keys() == fork.state_dict().keys()
    assert torch.equal(from_classifier["norm4.bias"], fork.norm4.bias)
    assert torch.equal(from_detector["norm4.bias"], torch.zeros(160))
    assert entry.convert(fork.state_dict(), raw).keys() == raw.state_dict().keys()


def test_a_classifier_file_fills_a_backbone_of_few_levels(tmp_path):
    entry = BACKBONES.get("fasternet_t0")
    classifier = entry(taps="raw").state_dict() | {"head.weight": torch.zeros(1000, 1280)}
    torch.save(classifier, tmp_path / "fasternet.pth")
    backbone = entry(reductions=(8, 16))

    report = load_backbone_weights(backbone, entry, tmp_path / "fasternet.pth", "fasternet_t0")

    assert not report.missing
    assert torch.equal(backbone.stages[4].blocks[7].mlp[3].weight, classifier["stages.4.blocks.7.mlp.3.weight"])


def test_the_shortcut_adds_the_input_as_it_was_before_the_partial_convolution():
    block = BACKBONES.get("fasternet_t0")().stages[0].blocks[0].eval()
    nn.init.zeros_(block.mlp[3].weight)
    x = torch.rand(1, 40, 8, 8)

    assert torch.equal(block(x.clone()), x)


def test_nothing_deeper_than_the_coarsest_wanted_level_is_built():
    torch.manual_seed(0)
    whole = BACKBONES.get("fasternet_t1")(drop_path=0.4).eval()
    part = BACKBONES.get("fasternet_t1")(drop_path=0.4, reductions=(16, 8)).eval()

    part.load_state_dict({key: value for key, value in whole.state_dict().items() if key in part.state_dict()})

    assert part.reductions == (8, 16)
    assert part.feature_channels == [128, 256]
    assert [name for name, _ in part.named_children()] == ["patch_embed", "norm2", "norm4", "stages"]
    assert len(part.stages) == 5
    assert part.stages[4].blocks[7].drop_path.rate == whole.stages[4].blocks[7].drop_path.rate
    with torch.no_grad():
        for found, expected in zip(part(IMAGE), whole(IMAGE)[1:3], strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize(("variant", "largest"), [("fasternet_t0", 0), ("fasternet_t2", 0.05), ("FasterNet", 0.1)])
def test_drop_path_grows_linearly_to_the_published_rate(variant, largest):
    with torch.device("meta"):
        stages = BACKBONES.get(variant)().stages

    rates = [block.drop_path.rate for stage in stages[::2] for block in stage.blocks]
    assert rates == pytest.approx([largest * i / 12 for i in range(13)])


def test_new_convolutions_have_a_standard_deviation_of_two_percent():
    weight = BACKBONES.get("fasternet_t0")().stages[6].blocks[0].mlp[0].weight  # 204,800 numbers

    assert weight.std().item() == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize("option", [{"taps": "last"}, {"reductions": (2, 8)}])
def test_an_impossible_option_is_refused(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        BACKBONES.get("fasternet_t0")(**option)
