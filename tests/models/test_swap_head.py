"""Either head on any model YAML: arguments and anchors, what stays, what is refused."""

import copy

import pytest
import torch

from models.detector import DetectionModel
from models.parse import read_model_yaml
from models.swap import swap_backbone, swap_head
from utils.errors import ConfigError
from utils.runs import ROOT
from utils.yaml_file import read_yaml

ANCHORS = read_yaml(ROOT / "models/hub/anchors.yaml")


def build(data):
    with torch.device("meta"):
        return DetectionModel(data, load_backbone=False)


def parameters(data):
    return sum(p.numel() for p in build(data).parameters())


def test_a_model_of_yolov5_with_the_anchor_free_head_is_the_one_that_the_reference_publishes():
    data = swap_head(read_model_yaml("yolov5n")[0], "anchor-free")

    assert "anchors" not in data
    assert data["head"][-1] == [[17, 20, 23], 1, "Detect", ["nc"]]
    assert parameters(data) == 2_654_816


def test_a_model_of_yolov8_with_anchors_has_those_of_yolov5_and_its_own_neck():
    data = swap_head(read_model_yaml("yolov8n")[0], "anchor")

    assert data["anchors"] == ANCHORS["P5_640"]
    assert data["head"][-1] == [[15, 18, 21], 1, "Detect", ["nc", "anchors"]]
    # 3 · 85 outputs on 64, 128 and 256 channels in the place of a head of 897,664 parameters
    assert parameters(data) == 3_157_200 - 897_664 + 255 * (64 + 128 + 256) + 3 * 255


@pytest.mark.parametrize(
    ("name", "anchors"),
    [
        *(("yolov8n", ANCHORS["P5_640"]), ("yolov8n-p6", ANCHORS["P6_640"]), ("yolov8n-p2", 3)),
        *(("yolov8n-emo", ANCHORS["P5_640"]), ("yolov5nu-p6", ANCHORS["P6_640"])),
    ],
)
def test_each_level_has_the_anchors_that_yolov5_has_for_its_stride_else_three_to_be_fitted(name, anchors):
    data = swap_head(read_model_yaml(name)[0], "anchor")

    assert data["anchors"] == anchors
    head = DetectionModel(data | {"scales": {"n": [0.1, 0.125, 256]}}, load_backbone=False).head
    assert head.anchors.shape == (head.nl, 3, 2)


@pytest.mark.parametrize("name", ["yolov8n", "yolov8n-p2", "yolov8n-p6", "yolov8n-emo", "yolov6n", "yolo11n"])
def test_the_anchor_free_head_comes_back_after_one_with_anchors(name):
    data = read_model_yaml(name)[0]

    assert swap_head(swap_head(data, "anchor"), "anchor-free") == data


@pytest.mark.parametrize("name", ["yolov5n", "yolov5n6", "yolov5n-emo"])
def test_the_anchors_of_yolov5_come_back_after_a_head_without(name):
    data = read_model_yaml(name)[0]

    back = swap_head(swap_head(data, "anchor-free"), "anchor")

    assert back | {"anchors": data["anchors"]} == data
    assert len(back["anchors"]) == len(data["anchors"])


def test_a_yaml_without_multiples_gets_those_that_yolov5_wants_written():
    data = read_model_yaml("yolov8n")[0]
    plain = {key: value for key, value in data.items() if key not in ("scales", "scale")}

    swapped_head = swap_head(plain, "anchor")

    assert (swapped_head["depth_multiple"], swapped_head["width_multiple"]) == (1.0, 1.0)
    assert build(swapped_head).model[8].cv2.conv.out_channels == 1024


@pytest.mark.parametrize(("name", "kind"), [("yolov8n", "anchor-free"), ("yolov5n", "anchor")])
def test_the_head_that_is_there_already_stays(name, kind):
    data = read_model_yaml(name)[0]

    assert swap_head(data, kind) == data


@pytest.mark.parametrize(("name", "kind"), [("yolov8n", "anchor"), ("yolov5n", "anchor-free")])
def test_swapping_the_head_leaves_the_input_as_it_is(name, kind):
    data = read_model_yaml(name)[0]
    before = copy.deepcopy(data)

    swap_head(data, kind)

    assert data == before


def test_head_and_backbone_can_be_swapped_in_either_order():
    data = read_model_yaml("yolov8n-p6")[0]

    one = swap_backbone(swap_head(data, "anchor"), "emo_1m")
    other = swap_head(swap_backbone(data, "emo_1m"), "anchor")

    assert one == other
    assert one["anchors"] == ANCHORS["P6_640"]


def test_rows_that_mean_other_layers_with_the_other_head_are_named(caplog):
    for name, kind in (("yolov5n", "anchor-free"), ("yolov8n", "anchor"), ("yolov3-tiny", "anchor-free")):
        swap_head(read_model_yaml(name)[0], kind)
    assert "other layers" not in caplog.text

    swap_head(read_model_yaml("yolov3")[0], "anchor-free")

    assert "with this head, rows of Bottleneck are other layers" in caplog.text


@pytest.mark.parametrize("kind", ["anchor", "anchor-free"])
@pytest.mark.parametrize("row", [[1, 2], [[15], 1, "Segment", ["nc", 32, 256]], [-1, 1, "Conv", [8]], "Detect"])
def test_a_head_that_cannot_be_swapped_is_named(kind, row):
    data = read_model_yaml("yolov5n" if kind == "anchor-free" else "yolov8n")[0]
    data["head"][-1] = row

    with pytest.raises(ConfigError, match=r"(row \d+: |the last row must be the one head)"):
        swap_head(data, kind)
