"""Official checkpoints of the YOLOv8 family become a Checkpoint with a YAML that the tensors complete."""

from pathlib import Path

import numpy as np
import pytest
import torch
from official_layout import Call, Instance
from official_layout_v8 import V8, V11, Conv, layer, pickled, save_v8, stand_in
from torch import nn

from utils.checkpoint.facts import checkpoint_facts
from utils.checkpoint.load import load_checkpoint
from utils.errors import CheckpointError

GOLDEN = Path(__file__).parents[2] / "golden" / "v8"
NAMESPACE = ("ultralytics.utils", "IterableSimpleNamespace")


def test_the_official_file_is_read_whole():
    checkpoint = load_checkpoint(GOLDEN / "official_format_v8.pt")
    golden = np.load(GOLDEN / "official_format_v8_out.npz")

    assert set(checkpoint.state) == set(golden["keys"].tolist())
    assert len(checkpoint.state) == golden["n_keys"]
    assert list(checkpoint.names.values()) == golden["names"].tolist()
    assert checkpoint.stride == tuple(golden["stride"].tolist())
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    parameters = [value for key, value in checkpoint.state.items() if not key.endswith(buffers)]
    assert sum(value.numel() for value in parameters) == golden["params"]
    assert checkpoint.state["model.13.dfl.conv.weight"].flatten().tolist() == list(range(16))


def test_tensors_are_float32_and_counts_stay_whole_numbers():
    state = load_checkpoint(GOLDEN / "official_format_v8.pt").state

    assert {value.dtype for value in state.values()} == {torch.float32, torch.int64}
    assert all((value.dtype is torch.int64) == key.endswith("num_batches_tracked") for key, value in state.items())


def test_what_the_official_file_says_of_its_model_and_training():
    checkpoint = load_checkpoint(GOLDEN / "official_format_v8.pt")

    assert sorted(checkpoint.yaml) == ["backbone", "ch", "class_width", "head", "nc", "reg_max", "scale", "scales"]
    assert [checkpoint.yaml[key] for key in ("nc", "ch", "scale", "reg_max")] == [6, 3, "n", 16]
    assert checkpoint.facts["format"] == "official"
    assert checkpoint.facts["training"]["opt"] == {"data": "work/data.yaml", "imgsz": 96}
    assert checkpoint_facts(checkpoint).imgsz == (96, 96)
    assert checkpoint.layers["model.6.m"][0] == "MaxPool2d"
    assert checkpoint.layers["model.2.m.0"] == ("Bottleneck", {"training": False, "add": True})


def test_the_class_branch_of_a_fine_tuned_file_has_the_width_of_its_tensors(tmp_path):
    """It keeps that of the file it started from; 32 channels and 6 classes alone would make it 32."""
    checkpoint = load_checkpoint(save_v8(tmp_path / "x.pt", stand_in(width=32)))

    assert checkpoint.yaml["class_width"] == 16


def test_a_file_from_the_middle_of_a_training_is_read_with_its_loss_and_options(tmp_path):
    """The loss points back to modules and options of the model, as a graph of live objects does."""
    average = pickled(stand_in())
    options = Call(NAMESPACE, state={"data": "x.yaml", "imgsz": 64})
    bce = Instance(("torch.nn.modules.loss", "BCEWithLogitsLoss"), {"reduction": "none", "_modules": {}})
    assigner = Instance(("ultralytics.utils.tal", "TaskAlignedAssigner"), {"topk": 10})
    loss = Instance(
        ("ultralytics.utils.loss", "v8DetectionLoss"),
        {
            "bce": bce,
            "hyp": options,
            "assigner": assigner,
            "proj": torch.arange(16.0),
            "head": layer(average, "model.3"),
        },
    )
    average.state |= {"args": options, "criterion": loss}
    entries = {"ema": average, "epoch": 3, "best_fitness": np.float64(0.25), "updates": 7, "train_args": options}
    weights = save_v8(tmp_path / "last.pt", None, **entries, optimizer={"state": {0: {"step": torch.tensor(1.0)}}})

    for use_ema in (True, False):
        checkpoint = load_checkpoint(weights, use_ema)
        assert torch.equal(checkpoint.state["model.0.conv.weight"], stand_in().model[0].conv.weight.float())
        assert (checkpoint.epoch, checkpoint.facts["best_fitness"]) == (3, 0.25)
        assert checkpoint_facts(checkpoint).data == "x.yaml"


def test_a_loss_among_the_modules_is_no_part_of_the_state(tmp_path):
    tree = pickled(stand_in())
    tree.state["_modules"]["criterion"] = Instance(
        ("ultralytics.utils.loss", "BboxLoss"), {"_buffers": {"pos_weight": torch.ones(1)}, "_modules": {}}
    )

    assert set(load_checkpoint(save_v8(tmp_path / "x.pt", tree)).state) == set(stand_in().state_dict())


def test_older_trainers_store_the_model_beside_its_average(tmp_path):
    model, average = stand_in(), stand_in()
    average.model[0].conv.weight.data += 1
    weights = save_v8(tmp_path / "last.pt", model, ema=pickled(average))

    for use_ema, expected in ((True, average), (False, model)):
        state = load_checkpoint(weights, use_ema).state
        assert torch.equal(state["model.0.conv.weight"], expected.model[0].conv.weight.float())


def test_names_of_the_first_half_of_2023_are_known(tmp_path):
    model = stand_in(channels=None, ch=1)
    model.names = [f"old {index}" for index in range(6)]
    tree = pickled(model, flat=True)
    tree.state["args"] = Call(("ultralytics.yolo.utils", NAMESPACE[1]), state={"imgsz": 64})
    tree.state["criterion"] = Instance(("ultralytics.yolo.utils.loss", "v8DetectionLoss"), {})
    where = Call(("pathlib", "PosixPath"), ("data", "pets.yaml"))

    checkpoint = load_checkpoint(save_v8(tmp_path / "x.pt", tree, train_args={"data": where, "imgsz": [64, 96]}))

    assert checkpoint.names[5] == "old 5"
    assert checkpoint.yaml["ch"] == 1
    assert checkpoint_facts(checkpoint).data == "data/pets.yaml"
    assert checkpoint_facts(checkpoint).imgsz == (64, 96)
    assert checkpoint.layers["model.1"][0] == "C2f"
    assert set(checkpoint.state) == set(stand_in().state_dict())


def test_a_yolo11_file_is_read_with_its_depthwise_head(tmp_path):
    checkpoint = load_checkpoint(save_v8(tmp_path / "x.pt", stand_in(V11, depthwise=True)))

    assert "model.3.cv3.0.0.0.conv.weight" in checkpoint.state
    assert checkpoint.layers["model.3.cv3.0.0.0"][0] == "DWConv"
    assert checkpoint.yaml["backbone"] == V11["backbone"]


@pytest.mark.parametrize(
    ("yaml", "depthwise", "words"),
    [(V11, False, "the class branch of YOLOv8, but .* of YOLO11"), (V8, True, "of YOLO11, but .* of YOLOv8")],
)
def test_a_head_of_the_other_form_than_the_layers_ask_for_is_refused(tmp_path, yaml, depthwise, words):
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(save_v8(tmp_path / "x.pt", stand_in(yaml, depthwise=depthwise)))


@pytest.mark.parametrize("scale", ["", None])
def test_without_a_scale_the_first_one_counts(tmp_path, scale):
    assert load_checkpoint(save_v8(tmp_path / "x.pt", stand_in(scale=scale))).yaml["scale"] == "n"


def test_the_first_releases_wrote_multiples_instead_of_scales(tmp_path):
    yaml = {key: value for key, value in V8.items() if not key.startswith("scale")}
    model = stand_in({**yaml, "depth_multiple": 0.33, "width_multiple": 0.25})

    found = load_checkpoint(save_v8(tmp_path / "x.pt", model)).yaml

    assert (found["depth_multiple"], found["width_multiple"]) == (0.33, 0.25)
    assert "scale" not in found


def test_the_number_of_bins_and_of_classes_is_what_the_tensors_say(tmp_path):
    model = stand_in(reg_max=8)
    model.yaml = {**model.yaml, "nc": 80}

    found = load_checkpoint(save_v8(tmp_path / "x.pt", model)).yaml

    assert (found["reg_max"], found["nc"]) == (8, 6)


@pytest.mark.parametrize(
    ("activation", "told", "expected"),
    [
        (nn.ReLU(), None, "nn.ReLU()"),
        (nn.LeakyReLU(0.1), "nn.LeakyReLU(0.1)", "nn.LeakyReLU(negative_slope=0.1)"),
        (nn.SiLU(), "nn.ReLU()", None),
    ],
)
def test_the_activation_is_that_of_the_layers(tmp_path, activation, told, expected):
    model = stand_in(**({"activation": told} if told else {}))
    for conv in [part for part in model.modules() if isinstance(part, Conv)]:
        conv.act = activation

    assert load_checkpoint(save_v8(tmp_path / "x.pt", model)).yaml.get("activation") == expected


def test_classes_without_names_are_numbered_and_a_missing_stride_is_left_open(tmp_path):
    tree = pickled(stand_in())
    del tree.state["names"], tree.state["stride"]

    checkpoint = load_checkpoint(save_v8(tmp_path / "x.pt", tree))

    assert list(checkpoint.names.values()) == ["0", "1", "2", "3", "4", "5"]
    assert checkpoint.stride == ()


@pytest.mark.parametrize("odd", [None, 7, {"data": 7, "imgsz": "big"}, {"imgsz": [64]}, {"imgsz": True}, {"imgsz": -1}])
def test_odd_training_options_are_no_reason_to_refuse(tmp_path, odd):
    facts = checkpoint_facts(load_checkpoint(save_v8(tmp_path / "x.pt", stand_in(), train_args=odd)))

    assert (facts.data, facts.imgsz) == (None, None)


def unscaled(nc, scales):
    """Return a model whose row 1, of as many channels as there are classes, was not scaled."""
    backbone = [V8["backbone"][0], [-1, 1, "C2f", [nc, True]], [-1, 1, "SPPF", [2048, 5]]]
    return stand_in({**V8, "backbone": backbone, "scales": scales}, nc=nc, width=nc)


@pytest.mark.parametrize(
    ("nc", "scale", "rows", "row"),
    [
        (64, [0.33, 0.25, 1024], [64, 256, 2048], [0.33, 0.25, 1024]),  # 256 · 0.25 = 64
        (64, [1.0, 1.25, 512], [64, 51, 2048], [1.0, 1.25, 512]),  # ⌈51 · 1.25⌉₈ = 64
        (128, [1.0, 0.25, 256], [64, 512, 256], [1.0, 0.25, 512]),  # 512 is above the limit of 256, which row 2 meets
    ],
)
def test_a_row_that_old_releases_left_unscaled_gets_a_width_that_scales_to_its_own(tmp_path, nc, scale, rows, row):
    found = load_checkpoint(save_v8(tmp_path / "x.pt", unscaled(nc, {"n": scale}))).yaml

    assert [args[0] for *_, args in found["backbone"]] == rows
    assert found["scales"]["n"] == row


@pytest.mark.parametrize(("nc", "width"), [(64, 16), (24, 24)])
def test_a_row_that_is_scaled_or_of_another_class_count_stays_as_it_is(tmp_path, nc, width):
    backbone = [V8["backbone"][0], [-1, 1, "C2f", [nc, True]], V8["backbone"][2]]
    model = stand_in({**V8, "backbone": backbone}, nc=nc, width=width)

    assert load_checkpoint(save_v8(tmp_path / "x.pt", model)).yaml["backbone"] == backbone


def test_an_unscaled_row_that_no_width_scales_to_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="64 channels was left unscaled, which the width multiple 100 cannot"):
        load_checkpoint(save_v8(tmp_path / "x.pt", unscaled(64, {"n": [1.0, 100, 1024]})))
