"""Which of the two languages a model YAML speaks, what its names mean there, and what neither language has."""

import copy

import pytest
import torch
from torch import nn

from models.detector import DetectionModel
from models.dialects import NOT_BUILT, dialect_of
from models.heads.anchor_free import AnchorFreeDetect
from models.heads.detect import Detect
from models.layers.csp import Bottleneck, KernelBottleneck
from models.registry import LAYERS, LayerEntry
from models.summary import count_flops
from utils.errors import ConfigError
from utils.runs import ROOT
from utils.yaml_file import read_yaml, write_yaml

ROWS = {
    "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Bottleneck", [8]], [-1, 1, "Conv", [16, 3, 2]]],
    "head": [[[1, 2], 1, "Detect", ["nc"]]],
}
WITH_ANCHORS = ROWS | {"head": [[[1, 2], 1, "Detect", ["nc", "anchors"]]]}
MULTIPLES = {"depth_multiple": 1.0, "width_multiple": 1.0}
SCALES = {"scales": {"n": [1.0, 1.0, 1024]}, "scale": "n"}
V5 = {"nc": 2, "anchors": 3} | MULTIPLES | WITH_ANCHORS
V8 = {"nc": 2} | SCALES | ROWS


def with_head(data, row):
    return copy.deepcopy(data) | {"head": [row]}


@pytest.mark.parametrize(
    ("data", "is_yolov8", "head"),
    [
        (V5, False, Detect),
        (V8, True, AnchorFreeDetect),
        ({"nc": 2} | ROWS, True, AnchorFreeDetect),
        ({"nc": 2} | MULTIPLES | ROWS, True, AnchorFreeDetect),
        ({"nc": 2, "anchors": 3} | SCALES | WITH_ANCHORS, True, Detect),
    ],
    ids=["anchors", "scales", "neither", "multiples", "both"],
)
def test_the_keys_decide_the_language_and_the_head(data, is_yolov8, head):
    dialect = dialect_of(data)

    assert (dialect.is_yolov8, dialect.has_anchors) == (is_yolov8, head is Detect)
    assert dialect.head_args == ("[nc, anchors]" if head is Detect else "[nc]")
    assert type(DetectionModel(data).head) is head


def test_anchors_that_the_head_names_but_the_file_lacks_are_asked_for():
    with pytest.raises(ConfigError, match="missing 'anchors'"):
        DetectionModel({"nc": 2} | MULTIPLES | WITH_ANCHORS)


@pytest.mark.parametrize(
    ("path", "is_yolov8"),
    [
        *(("models/yolov8.yaml", True), ("models/yolo11.yaml", True), ("models/yolov5u.yaml", True)),
        *(("models/hub/yolov6.yaml", True), ("models/yolov5s.yaml", False), ("models/hub/yolov3.yaml", False)),
    ],
)
def test_our_own_files_speak_the_language_of_their_family(path, is_yolov8):
    assert dialect_of(read_yaml(ROOT / path)).is_yolov8 is is_yolov8


def test_a_bottleneck_row_is_1x1_and_3x3_for_yolov5_but_3x3_twice_for_yolov8():
    v5, v8 = DetectionModel(V5).model[1], DetectionModel(V8).model[1]

    assert (type(v5), type(v8)) == (Bottleneck, KernelBottleneck)
    assert [block.cv1.conv.kernel_size for block in (v5, v8)] == [(1, 1), (3, 3)]
    assert [block.cv2.conv.kernel_size for block in (v5, v8)] == [(3, 3), (3, 3)]


def test_the_bottlenecks_of_a_csp_row_differ_in_the_same_way_but_those_of_c3_do_not():
    def inner(data, name):
        rows = [*ROWS["backbone"][:1], [-1, 1, name, [8]], *ROWS["backbone"][2:]]
        return DetectionModel(data | {"backbone": rows}).model[1].m[0].cv1.conv.kernel_size

    assert (inner(V5, "BottleneckCSP"), inner(V8, "BottleneckCSP")) == ((1, 1), (3, 3))
    assert (inner(V5, "C3"), inner(V8, "C3")) == ((1, 1), (1, 1))


def test_a_network_of_bottleneck_rows_has_the_sizes_of_the_two_families():
    data = read_yaml(ROOT / "models/hub/yolov3.yaml")
    free = {key: value for key, value in data.items() if key != "anchors"}
    free["head"] = [*data["head"][:-1], [*data["head"][-1][:3], ["nc"]]]

    with torch.device("meta"):
        v5, v8 = DetectionModel(data), DetectionModel(free)

    assert [sum(p.numel() for p in model.parameters()) for model in (v5, v8)] == [61_949_149, 103_754_144]
    assert count_flops(v8, 640) / 1e9 == pytest.approx(282.55, abs=0.01)


@pytest.mark.parametrize(
    ("data", "args", "message"),
    [
        (V5, ["nc"], r"Detect \['nc'\] in a YAML with 'anchors'\nfix: write \[nc, anchors\], or remove 'anchors'"),
        (V8 | {"anchors": 3}, ["nc", "anchors", 3], r"Detect \['nc', 'anchors', 3\] in a YAML with 'anchors'"),
        (V8, ["nc", 16], r"Detect \['nc', 16\] in a YAML without 'anchors'\nfix: write \[nc\], or add 'anchors'"),
        (V8, [], r"Detect \[\] in a YAML without 'anchors'"),
        (V8, [7], r"Detect \[7\] is for 7 classes, but nc is 2\nfix: write nc in its place"),
        (V8, ["classes"], r"Detect \['classes'\] is for 'classes' classes, but nc is 2"),
        (V5, [7, "anchors"], r"Detect \[7, 'anchors'\] is for 7 classes, but nc is 2"),
    ],
)
def test_a_head_with_arguments_of_the_other_language_is_told_what_to_write(tmp_path, data, args, message):
    write_yaml(tmp_path / "m.yaml", with_head(data, [[1, 2], 1, "Detect", args]))

    with pytest.raises(ConfigError, match=rf"m\.yaml: row 3: {message}"):
        DetectionModel(tmp_path / "m.yaml")


def test_a_head_that_says_the_number_of_classes_twice_is_taken_while_both_agree():
    data = with_head(V8, [[1, 2], 1, "Detect", [2]])

    assert DetectionModel(data).head.nc == 2
    with pytest.raises(ConfigError, match="is for 2 classes, but nc is 5"):
        DetectionModel(data, nc=5)


@pytest.mark.parametrize("name", NOT_BUILT)
@pytest.mark.parametrize("data", [V5, V8], ids=["v5", "v8"])
def test_a_name_of_a_family_that_is_not_built_is_refused_with_what_it_is(data, name):
    rows = [*ROWS["backbone"][:1], [-1, 1, name, [8]], *ROWS["backbone"][2:]]

    with pytest.raises(ConfigError) as error:
        DetectionModel(data | {"backbone": rows})

    assert error.value.what == f"model: row 1: {name} is {NOT_BUILT[name]}, which is not built here"
    assert "YOLOv5, YOLOv8 or YOLO11" in error.value.fix


def test_a_layer_that_somebody_registers_under_such_a_name_is_built(monkeypatch):
    entry = LayerEntry(nn.Identity, "same")
    monkeypatch.setattr(LAYERS, "_entries", LAYERS._entries | {"ADown": entry})

    assert dialect_of(V8).layer("ADown") is entry


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reg_max": 1}, "reg_max: 1 is not a whole number from 2"),
        ({"end2end": True}, "end2end: True is not false, because heads that need no NMS are not built"),
        ({"kpt_shape": [17, 3]}, "kpt_shape: a model for pose estimation\nfix: give the YAML of a detection model"),
        ({"head": [[[1, 2], 1, "Segment", ["nc", 32, 256]]]}, "row 3: Segment is a head for segmentation"),
        ({"scales": {"n": [1.0, 1.0]}}, r"scales: \{'n': \[1.0, 1.0\]\} is not a mapping from a letter to"),
        ({"scales": {"n": ["1.0", "1.0", 1024]}}, "scales: .* is not a mapping from a letter to"),
        ({"scales": {}}, r"scales: \{\} is not a mapping"),
        ({"scales": None}, "scales: None is not a mapping"),
    ],
)
def test_what_is_not_built_or_not_valid_is_one_sentence_with_file_and_remedy(tmp_path, change, message):
    write_yaml(tmp_path / "m.yaml", V8 | change)

    with pytest.raises(ConfigError, match=rf"m\.yaml: {message}") as error:
        DetectionModel(tmp_path / "m.yaml")
    assert error.value.fix


@pytest.mark.parametrize("value", [False, None])
def test_a_head_that_needs_nms_may_say_so(value):
    assert type(DetectionModel(V8 | {"end2end": value}).head) is AnchorFreeDetect


@pytest.mark.parametrize("text", ["nn.LeakyReLU(0.1)", "torch.nn.LeakyReLU(0.1)"])
def test_the_activation_of_the_file_stands_in_every_conv_of_this_model_alone(text):
    model = DetectionModel(V8 | {"activation": text})

    assert {module.act.negative_slope for module in model.modules() if hasattr(module, "act")} == {0.1}
    assert isinstance(DetectionModel(V8).model[0].act, nn.SiLU)


@pytest.mark.parametrize(("letter", "is_forced"), [("n", False), ("s", False), ("m", True), ("l", True), ("x", True)])
def test_the_larger_letters_alone_have_c3k_blocks_whatever_the_row_says(letter, is_forced):
    same = [1.0, 1.0, 1024]  # every letter has the same multiples: they decide nothing here
    rows = [*ROWS["backbone"][:1], [-1, 1, "C3k2", [8, False, 0.25]], *ROWS["backbone"][2:]]

    model = DetectionModel(V8 | {"scales": dict.fromkeys("nsmlx", same), "scale": letter, "backbone": rows})

    assert (type(model.model[1].m[0]).__name__ == "C3k") is is_forced
    assert model.model[1].m[0].cv2.conv.out_channels == (1 if is_forced else 2)  # of a quarter of 8 channels


def test_rows_of_yolo11_give_the_head_depthwise_class_branches():
    rows = [*ROWS["backbone"][:1], [-1, 1, "C3k2", [8]], *ROWS["backbone"][2:]]

    v8, v11 = DetectionModel(V8).head, DetectionModel(V8 | {"backbone": rows}).head

    assert "cv3.0.0.conv.weight" in v8.state_dict()
    assert "cv3.0.0.0.conv.weight" in v11.state_dict()


@pytest.mark.parametrize(
    ("channels", "scale", "expected"),
    [
        (1024, [1.0, 0.75, 768], 576),  # min(1024, 768) · 0.75
        (1024, [1.0, 1.25, 512], 640),  # min(1024, 512) · 1.25
        (64, [1.0, 0.0625, 1024], 8),  # 4, the next multiple of eight
        (64, [1.0, 0.25, 1024], 16),
    ],
)
@pytest.mark.parametrize("nc", [2, 64])
def test_a_width_is_limited_then_scaled_then_rounded_up_also_where_it_equals_nc(channels, scale, expected, nc):
    data = {"nc": nc, "scales": {"n": scale}, "scale": "n"} | copy.deepcopy(ROWS)
    data["backbone"][2][3][0] = channels

    assert DetectionModel(data).model[2].conv.out_channels == expected


def test_keys_that_other_programs_save_are_read_under_our_names():
    data = V8 | {"channels": 1, "yaml_file": "yolov8n.yaml"}

    model = DetectionModel(data)

    assert model.model[0].conv.in_channels == model.yaml["ch"] == 1
    assert not {"channels", "yaml_file"} & model.yaml.keys()
    assert DetectionModel(V8 | {"channels": None}).yaml["ch"] == 3


def test_anchors_for_a_head_without_any_are_refused():
    with pytest.raises(ConfigError, match="its head has none"):
        DetectionModel("yolov8n", anchors=4)
