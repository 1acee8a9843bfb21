"""The commands with the heads of both dialects: one model goes through all of them, a wrong YAML ends with code 2."""

import sys

import pytest
from tiny_detector import TINY, write_tiny_project

import detect
import export
import train
import val
from models.yolo import SummaryConfig
from models.yolo import main as summarise
from utils import load
from utils.checkpoint.load import load_checkpoint
from utils.command import run_command
from utils.config import parse_config
from utils.configs.detect import DetectConfig
from utils.configs.export import ExportConfig
from utils.configs.train import TrainConfig
from utils.configs.val import ValConfig
from utils.yaml_file import write_yaml

FEW = ("--data", "pets.yaml", "--imgsz", "64", "--epochs", "1", "--batch", "2", "--workers", "0", "--device", "cpu")
V8 = {
    "nc": 3,
    "scales": {"n": [1.0, 0.25, 1024], "s": [1.0, 0.5, 1024]},
    "backbone": TINY["backbone"],
    "head": [*TINY["head"][:-1], [[-1, 5], 1, "Detect", ["nc"]]],
}


@pytest.fixture
def project(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.chdir(tmp_path)
    write_tiny_project()
    write_yaml("yolov8-tiny.yaml", V8)
    return tmp_path


def run(command, config, *flags):
    command.main(parse_config(config, [str(flag) for flag in flags], prog="x"))


@pytest.mark.parametrize(
    ("cfg", "other"), [("yolov8s-tiny.yaml", "anchor"), ("tiny.yaml", "anchor-free")], ids=["v8", "v5"]
)
def test_a_model_is_trained_and_used_with_its_own_head_and_with_the_other(project, cfg, other, caplog):
    run(train, TrainConfig, *FEW, "--cfg", cfg, "--noplots")
    own = project / "runs/train/exp/weights/last.pt"
    run(train, TrainConfig, *FEW, "--weights", own, "--head", other, "--noplots", "--freeze", "backbone")
    swapped = project / "runs/train/exp2/weights/last.pt"

    assert ("anchors" in load_checkpoint(own).yaml) != ("anchors" in load_checkpoint(swapped).yaml)
    for weights in (own, swapped):
        run(val, ValConfig, "--weights", weights, "--data", "pets.yaml", "--noplots", "--workers", 0, "--device", "cpu")
        run(export, ExportConfig, "--weights", weights, "--opset", 12)
        run(detect, DetectConfig, "--weights", weights.with_suffix(".onnx"), "--source", "images", "--nosave")
        assert load(weights, device="cpu").names == {0: "cat", 1: "dog", 2: "eel"}
    assert caplog.text.count("image 3/3") == 2


@pytest.mark.parametrize(
    ("change", "place", "fix"),
    [
        ({"scale": "x"}, "no scale 'x'", "choose one of n, s"),
        ({"head": [[[-1, 3], 1, "Segment", ["nc", 32, 256]]]}, "row 6: Segment is a head for segmentation", "take a"),
        ({"anchors": 3}, "row 8: Detect ['nc'] in a YAML with 'anchors'", "write [nc, anchors], or remove 'anchors'"),
        ({"reg_max": 1}, "reg_max: 1 is not a whole number from 2", "give"),
    ],
)
def test_a_wrong_yaml_ends_a_command_with_file_place_remedy_and_code_2(
    project, change, place, fix, monkeypatch, capsys
):
    write_yaml("cats.yaml", V8 | change)
    monkeypatch.setattr(sys, "argv", ["models/yolo.py", "--cfg", "cats.yaml"])

    with pytest.raises(SystemExit) as end:
        run_command(summarise, SummaryConfig)

    assert end.value.code == 2
    what, remedy = capsys.readouterr().err.splitlines()[-2:]
    assert what.startswith(f"error: cats.yaml: {place}")
    assert remedy.startswith(f"fix: {fix}")
