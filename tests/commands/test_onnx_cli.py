"""An exported file is used like its checkpoint: same size, same data; a foreign one ends each command with code 2."""

import sys

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import detect
import export
import val
from utils.checkpoint.native import save_checkpoint
from utils.command import run_command
from utils.config import parse_config
from utils.configs.detect import DetectConfig
from utils.configs.export import ExportConfig
from utils.configs.val import ValConfig
from utils.yaml_file import write_yaml


@pytest.fixture
def folder(tmp_path, monkeypatch, caplog):
    """A working folder with a data set of two pictures and two classes."""
    caplog.set_level("INFO")
    monkeypatch.chdir(tmp_path)
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    rng = np.random.default_rng(0)
    for index in range(2):
        cv2.imwrite(f"images/{index}.png", rng.integers(0, 255, (48, 96, 3), dtype=np.uint8))
        (tmp_path / f"labels/{index}.txt").write_text("1 0.5 0.5 0.4 0.4\n")
    write_yaml(tmp_path / "pets.yaml", {"train": "images", "val": "images", "names": ["cat", "dog"]})
    return tmp_path


def run(command, config, *flags):
    command.main(parse_config(config, [str(flag) for flag in flags], prog="x"))


def test_a_dynamic_file_runs_at_the_size_and_on_the_data_of_its_export(folder, tiny_model, caplog):
    training = {"opt": {"data": "pets.yaml"}}
    save_checkpoint("tiny.pt", tiny_model, epoch=0, fitness=0.0, training=training, imgsz=96)
    run(export, ExportConfig, "--weights", "tiny.pt", "--imgsz", 128, "--dynamic", "--opset", 17)

    run(detect, DetectConfig, "--weights", "tiny.onnx", "--source", "images", "--nosave")
    run(val, ValConfig, "--weights", "tiny.onnx", "--noplots", "--workers", 0)

    assert caplog.text.count("imgsz: 128 (that of the export)") == 2
    assert caplog.text.count("tiny.onnx: largest differences from PyTorch when it was exported: 2×3×") == 2
    assert "data: pets.yaml (that of the training)" in caplog.text
    assert {entry.key for entry in onnx.load("tiny.onnx").metadata_props} == {
        *("stride", "names", "layout", "imgsz", "input", "output", "letterbox", "license", "data", "verification"),
        *("channels", "bits"),
    }


@pytest.fixture(params=[True, False], ids=["dynamic", "fixed"])
def foreign(request, folder):
    """A file of the layout (B, 4 + nc, N): box and two classes, no objectness, 16 boxes."""
    shape = ["b", 3, "h", "w"] if request.param else [1, 3, 64, 64]
    declared = ["b", 6, "n"] if request.param else [1, 6, 16]
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["maps"], strides=[16, 16], kernel_shape=[16, 16]),
        helper.make_node("Reshape", ["maps", "columns"], ["output0"]),
    ]
    tensors = [
        numpy_helper.from_array(np.full((6, 3, 16, 16), 1e-3, np.float32), "w"),
        numpy_helper.from_array(np.array([0, 6, -1]), "columns"),
    ]
    source = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, declared)
    graph = helper.make_graph(nodes, "g", [source], [output], tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(proto, {"stride": "32", "task": "detect", "names": "{0: 'cat', 1: 'dog'}"})
    onnx.save(proto, "foreign.onnx")
    return "foreign.onnx"


@pytest.mark.parametrize(
    ("command", "config", "flags"),
    [(detect, DetectConfig, ["--source", "images"]), (val, ValConfig, ["--data", "pets.yaml"])],
)
def test_a_file_that_another_program_wrote_for_yolov8_runs(
    foreign, command, config, flags, folder, monkeypatch, caplog
):
    caplog.set_level("INFO")
    monkeypatch.setattr(sys, "argv", ["x", "--weights", foreign, "--imgsz", "64", *flags])

    with pytest.raises(SystemExit) as end:
        run_command(command.main, config)

    assert end.value.code == 0
    assert "results in" in caplog.text


@pytest.mark.parametrize(
    ("command", "config", "flags"),
    [(detect, DetectConfig, ["--source", "images"]), (val, ValConfig, ["--data", "pets.yaml"])],
)
def test_a_file_of_another_layout_ends_with_its_name_and_code_2(
    foreign, command, config, flags, folder, monkeypatch, capsys
):
    proto = onnx.load(foreign)
    helper.set_model_props(proto, {"stride": "32", "task": "detect", "names": "{0: 'cat', 1: 'dog', 2: 'eel'}"})
    onnx.save(proto, foreign)
    monkeypatch.setattr(sys, "argv", ["x", "--weights", foreign, *flags])

    with pytest.raises(SystemExit) as end:
        run_command(command.main, config)

    assert end.value.code == 2
    message = capsys.readouterr().err
    assert "neither (B, N, 5 + 3), YOLOv5's, nor (B, 4 + 3, N), YOLOv8's" in message
    assert "\nfix: " in message
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("flags", [["--opset", "8"], ["--opset", "0"], ["--imgsz", "1", "2", "3"]])
def test_a_wrong_option_of_the_export_is_named_with_its_fix(folder, tiny_weights, flags, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["export.py", "--weights", str(tiny_weights), *flags])

    with pytest.raises(SystemExit) as end:
        run_command(export.main, ExportConfig)

    assert end.value.code == 2
    assert "\nfix: " in capsys.readouterr().err
