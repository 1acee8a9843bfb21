"""Files in 8-bit integers: what stays float32, what they are calibrated with, and that too large a loss is refused."""

import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from tiny_detector import finding_model, tiny_model, write_tiny_project

import export
import train
import val
from utils.backends.choose import load_backend
from utils.backends.pt import PyTorchBackend, load_trained
from utils.backends.several import load_backends
from utils.checkpoint.export_facts import read_metadata
from utils.checkpoint.native import save_checkpoint
from utils.command import run_command
from utils.configs.export import ExportConfig
from utils.data.letterbox import letterbox
from utils.data.scan.scan import scan_dataset
from utils.data.scan.spec import load_data_spec
from utils.errors import CheckpointError, ExportError
from utils.evaluation.drop import DropMeter
from utils.export import int8
from utils.export.calibrate import CalibrationImages, spread
from utils.export.compare import RejectedError
from utils.export.int8 import Int8, MapDrop
from utils.formats import named
from utils.runs import ROOT
from utils.yaml_file import read_yaml, write_yaml

NAMES = {0: "cat", 1: "dog", 2: "eel"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Work in a folder with a data set of three pictures and a checkpoint."""
    monkeypatch.chdir(tmp_path)
    write_tiny_project()
    save("tiny.pt", finding_model())
    return tmp_path


def save(path, model, data="pets.yaml"):
    save_checkpoint(path, model, epoch=0, fitness=0.0, training={"opt": {"data": data}}, imgsz=64)


def main(monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["x", "--weights", "tiny.pt", *map(str, flags)])
    with pytest.raises(SystemExit) as end:
        run_command(export.main, ExportConfig)
    return end.value.code


def loses(monkeypatch, before, after):
    """Let every measurement find this mAP50-95 in float32 and in integers."""
    monkeypatch.setattr(DropMeter, "__call__", lambda self, backend, nms=None: MapDrop(before, after, 3, "pets.yaml"))


def test_an_onnx_file_in_integers_runs_and_tells_what_it_cost(project, monkeypatch):
    loses(monkeypatch, 0.5, 0.49)
    (project / "tiny.onnx").write_text("float32")

    (file,) = export.run(weights="tiny.pt", int8=True)

    assert file.name == "tiny_int8.onnx"
    assert (project / "tiny.onnx").read_text() == "float32"
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected, found = (load_backend(path)(images).output for path in ("tiny.pt", file))
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.5)
    report = json.loads((project / "tiny_int8.onnx.json").read_text())
    assert report["limits"] == {"max_drop": 0.02}
    assert report["int8"]["calibration"] == {"images": 3, "data": "pets.yaml"}
    cost = {"float32": 0.5, "int8": 0.49, "drop": 0.01, "images": 3, "data": "pets.yaml"}
    assert report["int8"]["mAP50-95"] == cost
    stored = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    assert json.loads(stored["int8"])["mAP50-95"] == cost
    told = "mAP50-95 0.5000 in float32, 0.4900 in integers, on 3 images"
    assert read_metadata(stored, file).verification.endswith(told)
    torch.testing.assert_close(load_backends(file, torch.device("cpu"), dnn=True)(images).output, found, rtol=0, atol=1)


def test_what_the_library_says_of_each_tensor_is_not_told(project, monkeypatch, caplog):
    caplog.set_level("INFO")
    loses(monkeypatch, 0.5, 0.5)
    model = tiny_model()
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):  # biases of zero are one tensor in the graph
            torch.nn.init.zeros_(layer.bias)
            torch.nn.init.zeros_(layer.running_mean)
    save("tiny.pt", model)

    export.run(weights="tiny.pt", int8=True)

    assert {record.name.partition(".")[0] for record in caplog.records} <= {"export", "utils"}
    assert "3 images" in caplog.text


def test_what_follows_the_last_convolutions_stays_float32(project, monkeypatch):
    loses(monkeypatch, 0.5, 0.5)
    (file,) = export.run(weights="tiny.pt", int8=True, opset=13)

    nodes = onnx.load(file).graph.node
    kinds = Counter(node.op_type for node in nodes)
    tensors = {tensor.name: tensor for tensor in onnx.load(file).graph.initializer}
    of_convs = [node.input[1] for node in nodes if node.op_type == "Conv"]
    assert len([name for name in of_convs if name in tensors]) == 2  # one for each map of the head
    assert kinds["QuantizeLinear"] > 20
    behind = {node.output[0] for node in nodes if node.op_type == "Conv" and node.input[1] in tensors}
    for node in nodes:
        if behind & set(node.input):
            assert node.op_type not in ("QuantizeLinear", "DequantizeLinear")
            behind |= set(node.output)
    assert "output0" in behind
    scales = [tensors[n.input[1]].dims for n in nodes if n.op_type == "DequantizeLinear" and n.output[0] in of_convs]
    assert scales
    assert all(len(dims) == 1 and dims[0] > 1 for dims in scales)  # one for each channel


def test_a_file_that_loses_too_much_is_refused_and_nothing_is_left(project, monkeypatch, capsys):
    loses(monkeypatch, 0.5, 0.4)
    before = set(project.iterdir())

    assert main(monkeypatch, "--int8") == 2

    message = capsys.readouterr().err
    assert "tiny_int8.onnx: not written: mAP50-95 on 3 images of pets.yaml: 0.5000 in float32, 0.4000" in message
    assert "the drop of 0.1000 is more than --max-drop 0.02 allows" in message
    assert set(project.iterdir()) == before


@pytest.mark.parametrize(
    ("max_drop", "before", "after", "words"),
    [
        (0.02, 0.5, 0.481, ""),
        (0.02, 0.5, 0.52, ""),
        (0.02, 0.5, 0.479, "the drop of 0.0210 is more than --max-drop 0.02"),
        (0.0, 0.5, 0.5, ""),
        (0.1, 0.5, 0.45, ""),
        (0.02, 0.02, 0.0, "the model itself has a mAP50-95 of 0.0200"),
        (0.02, 0.0, 0.0, "cannot show"),
        (1.0, 0.0, 0.0, ""),
        (0.02, 0.5, float("nan"), "more than --max-drop"),
    ],
)
def test_the_drop_decides_where_it_can_show(max_drop, before, after, words):
    wanted, found = Int8(None, max_drop, None), MapDrop(before, after, 3, "pets.yaml")
    if not words:
        assert wanted.check(found) is found
        return
    with pytest.raises(RejectedError, match=words) as error:
        wanted.check(found)
    assert error.value.fix


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--int8", "--half"], "--half and --int8: the numbers of a file are of one kind"),
        (["--int8", "--include", "ncnn"], "--include ncnn: has no --int8"),
        (["--int8", "--opset", 12], "integers need opset 13 or newer, not 12"),
        (["--int8", "--data", "other.yaml"], "other.yaml: 2 classes, but the model finds 3"),
        (["--int8", "--data", "empty.yaml"], "none of the 3 images has a label"),
        (["--int8", "--data", "absent.yaml"], "gone"),
        (["--int8", "--max-drop", 2], "--max-drop"),
    ],
)
def test_what_cannot_be_written_is_said_in_a_sentence(project, monkeypatch, capsys, flags, what):
    (project / "bare").mkdir()
    for index in range(3):
        cv2.imwrite(f"bare/{index}.png", np.zeros((16, 16, 3), np.uint8))
    for name, split, names in (
        ("other", "images", "[a, b]"),
        ("empty", "bare", "[a, b, c]"),
        ("absent", "gone", "[a]"),
    ):
        (project / f"{name}.yaml").write_text(f"train: {split}\nval: {split}\nnames: {names}\n")

    assert main(monkeypatch, *flags) == 2

    message = capsys.readouterr().err
    assert what in message
    assert "fix: " in message
    assert not list(project.glob("tiny_int8*")) + list(project.glob(".*"))


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (3, 1, "3 images of many.yaml with 3 labels"),
        (49, 2, "49 images"),
        (50, 1, ""),
        (60, 0, "60 images of many.yaml with 1 label"),
    ],
)
def test_a_cost_that_is_measured_on_a_handful_is_doubted_before_it_is_measured(project, caplog, images, labels, said):
    (project / "many/images").mkdir(parents=True)
    (project / "many/labels").mkdir()
    for index in range(images):
        shutil.copy("images/0.png", f"many/images/{index}.png")
        rows = labels if index else max(labels, 1)
        (project / f"many/labels/{index}.txt").write_text(
            "".join(f"0 0.{row + 2} 0.5 0.2 0.2\n" for row in range(rows))
        )
    write_yaml("many.yaml", {"train": "many/images", "val": "many/images", "names": ["cat", "dog", "eel"]})
    model, trained = load_trained(Path("tiny.pt"))

    DropMeter(PyTorchBackend(model, trained, torch.device("cpu")), load_data_spec("many.yaml"), (64, 64))

    doubts = [record.getMessage() for record in caplog.records if "what --int8 costs" in record.getMessage()]
    assert len(doubts) == bool(said)
    assert all(said in doubt for doubt in doubts)


def test_an_option_without_int8_is_said_to_mean_nothing(project, caplog):
    export.run(weights="tiny.pt", max_drop=0.5)

    assert "--max-drop means nothing without --int8" in caplog.text


def test_openvino_in_integers_names_the_package_that_it_needs(monkeypatch):
    monkeypatch.setattr("utils.formats.find_spec", lambda name: None if name == "nncf" else name)

    assert named("openvino").refusal(["int8"]) == ("--include openvino: --int8 needs nncf", "pip install nncf")
    assert named("openvino").refusal() is None


def test_calibration_takes_the_same_letterboxed_images_every_time(project):
    cv2.imwrite("images/1.png", np.random.default_rng(1).integers(0, 255, (32, 64, 3), dtype=np.uint8))
    scan = scan_dataset(["images"], NAMES)
    images = CalibrationImages(scan, (2, 3, 64, 96), "pets.yaml")

    first, second = (list(images) for _ in range(2))

    assert images.count == 3
    assert [batch.shape for batch in first] == [(2, 3, 64, 96)] * 2
    assert all(batch.dtype == np.float32 and batch.min() >= 0 and batch.max() <= 1 for batch in first)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first[1][1], first[0][0])  # fills up
    boxed, _, _ = letterbox(cv2.imread("images/1.png")[..., ::-1], (64, 96))
    np.testing.assert_allclose(first[0][1], boxed.transpose(2, 0, 1) / np.float32(255), atol=1e-6)


def test_images_are_spread_evenly():
    assert spread(3, 128).tolist() == [0, 1, 2]
    assert spread(9, 3).tolist() == [0, 4, 8]
    assert len(set(spread(1000, 128).tolist())) == 128


@pytest.mark.parametrize("text", ["[]", "{", '{"mAP50-95": 1}', '{"mAP50-95": {"float32": "x"}}', '{"mAP50-95": {}}'])
def test_an_unreadable_cost_is_refused(text, tmp_path):
    with pytest.raises(CheckpointError, match="no readable cost of integers"):
        read_metadata({"stride": "32", "names": "['a']", "int8": text}, tmp_path / "x.onnx")


@pytest.mark.slow  # NNCF is imported for seconds
@pytest.mark.parametrize("options", [{}, {"dynamic": True, "nms": True}, {"batch_size": 2, "imgsz": (64, 96)}])
@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_integers_go_with_the_other_options(project, form, options):
    if form == "openvino":
        pytest.importorskip("nncf")
    (file,) = export.run(weights="tiny.pt", int8=True, max_drop=1.0, include=(form,), **{"imgsz": (64,)} | options)

    backend = load_backend(file)
    count = 100 if "nms" in options else 240
    assert backend(torch.rand(3, 3, *(backend.fixed_size or (64, 96)))).output.shape[:2] == (
        3,
        count if options else 160,
    )
    report = json.loads((project / f"{file.name}.json").read_text())
    assert report["verification"][-1]["same"] > 0.9 * report["verification"][-1]["detections"] > 20


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("family", ["yolov5n", "yolov8n"])
def test_integers_cost_a_trained_model_no_more_than_two_hundredths(tmp_path, monkeypatch, family):
    options = {"imgsz": 128, "batch_size": 4, "optimizer": "AdamW", "hyp": "hyp.yaml", "plots": False, "workers": 2}
    monkeypatch.chdir(tmp_path)
    hyp = read_yaml(ROOT / f"data/hyps/hyp.{'shapes' if family == 'yolov5n' else 'yolov8'}.yaml")
    write_yaml("hyp.yaml", hyp | {"lr0": 0.002, "mosaic": 0, "scale": 0.1, "warmup_epochs": 1})
    trained = train.run(cfg=family, data="shapes.yaml", epochs=24, project=str(tmp_path), name="run", **options)
    weights = Path(trained.save_dir, "weights/best.pt")
    forms = ("onnx", "openvino") if named("openvino").refusal(["int8"]) is None else ("onnx",)

    files = export.run(weights=str(weights), int8=True, include=forms)

    expected = val.run(weights=str(weights), data="shapes.yaml", plots=False, workers=0)[0][3]
    for file in files:
        cost = json.loads(file.with_name(f"{file.name}.json").read_text())["int8"]["mAP50-95"]
        assert cost["float32"] > 0.04
        assert cost["float32"] == pytest.approx(expected, abs=0.02)  # val.py makes no squares of rectangles
        assert cost["drop"] <= 0.02
        figures = val.run(weights=str(file), data="shapes.yaml", plots=False, workers=0)[0]
        assert figures[3] == pytest.approx(cost["int8"], abs=1e-4)
    monkeypatch.setattr(int8, "_in_float", lambda graph: [])
    with pytest.raises(ExportError, match=r"0\.0\d+ in integers: the drop of"):
        export.run(weights=str(weights), int8=True)
