"""What an official file of the ultralytics package may not be or hold: other tasks, fused layers, code of its own."""

import random
import zipfile
from pathlib import Path

import pytest
import torch
from official_layout import Call, Instance
from official_layout_v8 import HOMES, layer, pickled, save_v8, stand_in

from utils.checkpoint.load import load_checkpoint
from utils.errors import CheckpointError

OFFICIAL = Path(__file__).parents[2] / "golden" / "v8" / "official_format_v8.pt"
DETECT = "ultralytics.nn.modules.head", "Detect"


def refusal(weights):
    """Return the error of loading, in one line each for what and fix."""
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(weights)
    assert "\n" not in error.value.what
    assert error.value.fix
    return error.value


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SegmentationModel", "segmentation"),
        ("PoseModel", "pose estimation"),
        ("OBBModel", "oriented boxes"),
        ("ClassificationModel", "classification"),
        ("WorldModel", "prompted by text"),
        ("RTDETRDetectionModel", "RT-DETR"),
        ("YOLOv10DetectionModel", "YOLOv10"),
    ],
)
def test_the_model_of_another_task_is_named(tmp_path, monkeypatch, name, words):
    tree = pickled(stand_in())
    tree.path = HOMES["DetectionModel"], name

    error = refusal(save_v8(tmp_path / "x.pt", tree))

    assert words in error.what
    assert "detection weights" in error.fix


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"end2end": True}, "end2end"),
        ({"kpt_shape": [17, 3]}, "pose estimation"),
        ({"text_model": "clip"}, "prompted by text"),
    ],
)
def test_another_task_is_told_by_the_keys_of_its_yaml(tmp_path, changes, words):
    assert words in refusal(save_v8(tmp_path / "x.pt", stand_in(**changes))).what


def test_keys_of_other_tasks_that_say_no_are_left_out(tmp_path):
    weights = save_v8(tmp_path / "x.pt", stand_in(end2end=False, kpt_shape=None))

    assert not {"end2end", "kpt_shape"} & set(load_checkpoint(weights).yaml)


def test_the_task_that_a_model_names_counts(tmp_path):
    tree = pickled(stand_in())
    tree.state["task"] = "segment"

    assert "the task 'segment'" in refusal(save_v8(tmp_path / "x.pt", tree)).what


def test_a_fused_file_is_told_by_its_tensors(tmp_path):
    model = stand_in()
    model.model[0].conv.bias = torch.nn.Parameter(torch.zeros(16).half())
    del model.model[0].bn

    error = refusal(save_v8(tmp_path / "x.pt", model))

    assert "its layer 'model.0' is a convolution without its norm" in error.what
    assert "folded" in error.fix


def test_a_fused_layer_that_stores_its_method_is_told(tmp_path):
    tree = pickled(stand_in())
    conv = layer(tree, "model.0")
    conv.state["forward"] = Call(("__builtin__", "getattr"), (conv, "forward_fuse"))

    assert "the fused module 'model.0': its norms are folded" in refusal(save_v8(tmp_path / "x.pt", tree)).what


def test_a_module_with_a_forward_of_its_own_is_refused(tmp_path):
    tree = pickled(stand_in())
    conv = layer(tree, "model.0")
    conv.state["forward"] = Call(("builtins", "getattr"), (layer(tree, "model.1"), "forward"))

    assert "a forward of its own in the module 'model.0'" in refusal(save_v8(tmp_path / "x.pt", tree)).what


@pytest.mark.parametrize("where", ["", "model.2.cv1"])
def test_hooks_are_refused_wherever_they_hang(tmp_path, where):
    tree = pickled(stand_in())
    (layer(tree, where) if where else tree).state["_forward_hooks"] = {0: "anything"}

    assert "hooks or a forward of its own" in refusal(save_v8(tmp_path / "x.pt", tree)).what


@pytest.mark.parametrize(
    ("owner", "name", "words"),
    [
        (Instance(("ultralytics.nn.modules.conv", "Conv"), {}), "__class__", "getattr of a Node and '__class__'"),
        (Instance(DETECT, {}), ["forward"], "getattr of a Node and a list"),
        ("os", "forward", "getattr of 'os'"),
    ],
)
def test_getattr_of_anything_else_is_refused(tmp_path, owner, name, words):
    tree = pickled(stand_in())
    tree.state["odd"] = Call(("builtins", "getattr"), (owner, name))

    assert words in refusal(save_v8(tmp_path / "x.pt", tree)).what


@pytest.mark.parametrize(
    "path",
    [
        ("ultralytics.nn.modules.block", "A2C2f"),
        ("ultralytics.nn.tasks", "attempt_load_one_weight"),
        ("ultralytics.nn.modules.conv.Conv", "forward"),
        ("ultralytics.utils", "SETTINGS"),
        ("ultralytics.yolo.utils.checks", "check_requirements"),
        ("ultralytics.nn.modules.block", "os.system"),
    ],
)
@pytest.mark.parametrize("kind", [Instance, Call])
def test_names_outside_the_table_are_refused(tmp_path, path, kind):
    tree = pickled(stand_in())
    tree.state["odd"] = kind(path, state={}) if kind is Call else kind(path, {})

    error = refusal(save_v8(tmp_path / "x.pt", tree))

    assert f"'{'.'.join(path)}'" in error.what
    assert "a model of the ultralytics package" in error.what


@pytest.mark.parametrize("path", [("ultralytics.nn.tasks", "DetectionModel"), DETECT])
def test_a_class_of_the_file_cannot_be_called(tmp_path, path):
    tree = pickled(stand_in())
    tree.state["odd"] = Call(path, ("yolov8n.yaml",))

    assert f"a call of {'.'.join(path)}" in refusal(save_v8(tmp_path / "x.pt", tree)).what


def test_options_made_with_arguments_are_refused(tmp_path):
    tree = pickled(stand_in())
    tree.state["args"] = Call(("ultralytics.utils", "IterableSimpleNamespace"), ("x",))

    assert "truncated or damaged" in refusal(save_v8(tmp_path / "x.pt", tree)).what


@pytest.mark.parametrize("change", [{"yaml": None}, {"_modules": {}}, {"_modules": {"model": None}}])
def test_a_model_without_description_or_layers_is_refused(tmp_path, change):
    tree = pickled(stand_in())
    tree.state |= change

    refusal(save_v8(tmp_path / "x.pt", tree))


def test_a_model_whose_last_layer_is_no_head_is_refused(tmp_path):
    model = stand_in()
    del model.model[3].cv2[0][2]

    assert "the Detect model.3, is not a detection head" in refusal(save_v8(tmp_path / "x.pt", model)).what


@pytest.mark.parametrize("scale", [[1, float("nan"), 9], [1, 1e308, 9], [1, 1e-320, 9], ["x"] * 3, [1], None, 7])
def test_a_scale_that_is_none_is_refused_where_it_is_needed(tmp_path, scale):
    backbone = [[-1, 1, "Conv", [64, 3, 2]], [-1, 1, "C2f", [64]], [-1, 1, "SPPF", [64]]]
    model = stand_in(nc=64, width=64, scales={"n": scale}, backbone=backbone)

    assert "does not say the width of its scale" in refusal(save_v8(tmp_path / "x.pt", model)).what


def mutated(path, draw):
    """Copy the official file with some bytes of its pickle changed, under checksums that fit."""
    with zipfile.ZipFile(OFFICIAL) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = bytearray(source.read(name))
            if name.endswith("data.pkl"):
                for _ in range(draw.choice((1, 1, 2, 8))):
                    data[draw.randrange(len(data))] = draw.randrange(256)
            target.writestr(name, bytes(data))
    return path


def test_a_damaged_pickle_ends_in_a_sentence_or_in_data(tmp_path):
    draw = random.Random(0)
    for _ in range(60):
        try:
            load_checkpoint(mutated(tmp_path / "x.pt", draw))
        except CheckpointError as error:
            assert "\n" not in error.what and error.fix
