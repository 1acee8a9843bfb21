"""Any backbone under any model YAML: what stays, what is re-pointed, what is refused."""

import re

import pytest
import torch

from models.backbones import resolve_backbone
from models.detector import DetectionModel
from models.parse import read_model_yaml
from models.registry import BACKBONES
from models.swap import swap_backbone
from utils.errors import ConfigError
from utils.runs import ROOT

YAMLS = sorted(str(path.relative_to(ROOT / "models")) for path in ROOT.glob("models/**/yolo*.yaml"))
TOTALS = {  # parameters of the tutorials' YAML (width 0.25, depth 0.33, 80 classes) with each backbone, as published
    "emo_1m": 2_144_365,
    "emo_2m": 3_156_093,
    "emo_5m": 5_872_741,
    "emo_6m": 6_926_533,
    "fasternet_t0": 3_295_649,
    "fasternet_t1": 6_934_205,
    "fasternet_t2": 14_310_653,
    "fasternet": 14_310_653,
    "fasternet_s": 30_563_261,
    "fasternet_m": 52_955_501,
    "fasternet_l": 93_152_957,
    "RepVGG": 10_173_117,  # without widths
    "repvgg_a0": 10_173_117,
    "repvgg_a1": 15_166_653,
    "repvgg_a2": 29_415_165,
    "repvgg_b0": 16_892_349,
    "repvgg_b1": 59_434_301,
    "repvgg_b1g2": 47_801_661,
    "repvgg_b1g4": 41_985_341,
    "repvgg_b2": 91_992_445,
    "repvgg_b2g2": 73_816_445,
    "repvgg_b2g4": 64_728_445,
    "repvgg_b3": 126_075_837,
    "repvgg_b3g2": 99_902_397,
    "repvgg_b3g4": 86_815_677,
    "repvgg_d2se": 136_304_905,
    "repvggplus_l2pse": 143_069_293,
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
FORK_WIDTHS = {
    "t0": 40,
    "t1": 64,
    "t2": 96,
    "": 96,
    "s": 128,
    "m": 144,
    "l": 192,
}  # FasterNet's /4 norm, not built here
# The tutorials join the 256-channel SPPF map in the last Concat, YOLOv5 the 128-channel convolution behind it: two 1×1
# convolutions of 128 channels read 128 channels fewer.
NARROWER_JOIN = 2 * 128 * 128


def swapped(yaml: str, name: str, **options) -> dict:
    return swap_backbone(read_model_yaml(yaml)[0], name, **options)


def on_meta(data) -> DetectionModel:
    with torch.device("meta"):
        return DetectionModel(data, load_backbone=False)


def parameters(data) -> int:
    return sum(p.numel() for p in on_meta(data).parameters())


def test_the_table_has_every_registered_backbone():
    resolve_backbone("")

    assert {name for name in BACKBONES if ".py:" not in name} == TOTALS.keys()


def mostly_slow(names, default):
    return [name if name in default else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", mostly_slow(TOTALS, ("emo_1m", "fasternet_t0", "RepVGG", "repvit_m1", "repvit_m0_6")))
def test_the_whole_detector_has_the_published_size(name):
    """Those of the other variants, by the YAML of their family, are tested with the backbones."""
    fork = 2 * FORK_WIDTHS[name.partition("_")[2]] if name.startswith("fasternet") else 0

    assert parameters(swapped("yolov5n-emo.yaml", name)) == TOTALS[name] - fork


@pytest.mark.parametrize(
    "name", ["emo_1m", "repvit_m0_6", "repvgg_a0"]
)  # one of a family; no model has FasterNet's fork
def test_under_yolov5_it_is_smaller_by_the_narrower_join(name):
    assert parameters(swapped("yolov5n.yaml", name)) == TOTALS[name] - NARROWER_JOIN


def test_yolov5n_becomes_the_tutorials_rows():
    data = swapped("yolov5n.yaml", "emo_1m")

    assert data["backbone"] == [[-1, 1, "emo_1m", [False]], [-1, 1, "SPPF", [1024, 5]]]
    sources = [row[0] for row in data["head"]]
    assert sources == [-1, -1, [-1, "P4"], -1, -1, -1, [-1, "P3"], -1, -1, [-1, 10], -1, -1, [-1, 6], -1, [13, 16, 19]]
    assert [row[1:] for row in data["head"]] == [row[1:] for row in read_model_yaml("yolov5n.yaml")[0]["head"]]


def test_rows_beyond_stride_32_stay():
    data = swapped("yolov5n6.yaml", "emo_1m")

    assert data["backbone"][1:] == [
        [-1, 1, "Conv", [1024, 3, 2]],
        [-1, 3, "C3", [1024]],
        [-1, 1, "SPPF", [1024, 5]],
    ]
    assert [row[0] for row in data["head"] if row[2] == "Concat"][:3] == [[-1, "P5"], [-1, "P4"], [-1, "P3"]]


def test_a_backbone_without_pyramid_pooling_is_replaced_whole():
    data = swapped("yolov3-tiny.yaml", "emo_1m")

    assert data["backbone"] == [[-1, 1, "emo_1m", [False]]]
    assert [row[0] for row in data["head"]] == [-1, -1, -1, -2, -1, [-1, "P4"], -1, [11, 7]]


def test_a_backbone_row_is_replaced_in_its_place():
    old, new = read_model_yaml("yolov5s-repvit.yaml")[0], swapped("yolov5s-repvit.yaml", "emo_1m")

    assert new["backbone"][0] == [-1, 1, "emo_1m", [False]]
    assert (new["backbone"][1:], new["head"]) == (old["backbone"][1:], old["head"])


def test_the_input_stays_as_it_is():
    data = read_model_yaml("yolov5n.yaml")[0]

    swap_backbone(data, "emo_1m", weights="file.pth", options={"drop_path": 0.1})

    assert data == read_model_yaml("yolov5n.yaml")[0]


def test_weights_and_options_go_into_the_row():
    options = {"drop_path": 0.1}

    assert swapped("yolov5n.yaml", "fasternet_t0", weights=True)["backbone"][0][3] == [True]
    row = swapped("yolov5n.yaml", "fasternet_t0", weights="w.pth", options=options)["backbone"][0]
    assert row[3] == ["w.pth", options]


def test_the_normalisation_of_the_old_weights_goes():
    data = read_model_yaml("yolov5n-emo.yaml")[0] | {"normalize": {"mean": [0.5] * 3, "std": [0.5] * 3}}

    assert "normalize" not in swap_backbone(data, "repvit_m0_6")


# the sizes of a model, which only differ in what is made small here, have the rows of one
@pytest.mark.parametrize("yaml", mostly_slow(YAMLS, [name for name in YAMLS if not re.search("^hub/|v5[smlx]", name)]))
def test_every_yaml_keeps_its_strides(yaml):
    small = {"width_multiple": 0.125, "depth_multiple": 0.1}
    data = read_model_yaml(yaml)[0] | small

    before, after = DetectionModel(data), DetectionModel(swap_backbone(data, "emo_1m"))

    assert after.stride.tolist() == before.stride.tolist()
    assert [row.name for row in after.rows[-5:]] == [row.name for row in before.rows[-5:]]


def test_a_level_that_the_backbone_lacks_is_answered_with_those_it_has():
    with pytest.raises(ConfigError, match=r"no map of stride 4 .it has /16"):
        swapped("hub/yolov5-p2.yaml", "timm/vit_tiny_patch16_224")


def test_a_row_that_reads_a_map_of_full_size_is_refused():
    data = read_model_yaml("hub/yolov3.yaml")[0] | {"anchors": 1}  # its row 0 has stride 1
    data["head"] = [[0, 1, "nn.MaxPool2d", [8, 8, 0]], [[-1], 1, "Detect", ["nc", "anchors"]]]

    with pytest.raises(ConfigError, match="row 11: it reads row 0 of stride 1, which no level of a backbone has"):
        swap_backbone(data, "emo_1m")


def test_an_unknown_name_is_answered_with_close_ones_of_every_table():
    for wrong, right in (("repvit_m09", "repvit_m0_9"), ("mobilenetv4_conv_smal", "mobilenetv4_conv_small")):
        with pytest.raises(ConfigError, match=f"unknown backbone '{wrong}'") as error:
            swapped("yolov5n.yaml", wrong)
        assert right in str(error.value)


def test_a_backbone_bound_to_one_size_is_built_for_the_one_asked_for_and_the_row_says_so():
    data = swapped("yolov5n.yaml", "timm/coat_lite_tiny", imgsz=(128, 160))

    assert data["backbone"][0][3] == [False, {"img_size": [128, 160]}]
    model = DetectionModel(data)
    assert model.fixed_size == (128, 160)
    assert [tuple(m.shape[2:4]) for m in model(torch.rand(2, 3, 128, 160))] == [(16, 20), (8, 10), (4, 5)]
    with pytest.raises(ConfigError, match="built for images of 128×160"):
        model(torch.rand(2, 3, 160, 160))


def test_a_backbone_of_any_size_is_not_bound_to_the_one_asked_for():
    assert swapped("yolov5n.yaml", "timm/lcnet_050", imgsz=(128, 160))["backbone"][0][3] == [False]
    assert DetectionModel(read_model_yaml("yolov5n.yaml")[0]).fixed_size is None


def test_a_users_file_is_taken_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(BACKBONES, "_entries", dict(BACKBONES._entries))
    file = tmp_path / "own.py"
    file.write_text(
        "from models.backbones.emo import emo_1m\ndef mine(**options):\n    return emo_1m(**options)\n",
        encoding="utf-8",
    )

    assert parameters(swapped("yolov5n-emo.yaml", f"{file}:mine")) == TOTALS["emo_1m"]
