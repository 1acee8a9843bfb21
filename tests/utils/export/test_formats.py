"""Every format is written and computes what PyTorch computes, or says in a sentence what to do instead."""

import errno
import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from tiny_detector import enlivened, finding_model, tiny_model, write_tiny_project
from torch import nn

import detect
import export
import val
from models.detector import DetectionModel
from utils.backends.choose import load_backend
from utils.checkpoint.export_facts import read_metadata
from utils.checkpoint.native import save_checkpoint
from utils.command import run_command
from utils.configs.export import ExportConfig
from utils.errors import CheckpointError, ConfigError, ExportError, StorageError
from utils.export import torchscript
from utils.export.compare import RejectedError, example_images
from utils.export.deployed import deployable
from utils.formats import FORMATS, format_of, named
from utils.nms import non_max_suppression
from utils.optional_import import import_beside_torch
from utils.predictions import BN6, Predictions

ELSEWHERE = ("engine", "coreml")  # run on a GPU or a Mac only; tested with stand-ins
OPTIONAL = ("tflite", "saved_model")  # tested where their packages are
WRITTEN = [
    form
    for form in FORMATS
    if form.is_written and form.name not in ELSEWHERE and not (form.name in OPTIONAL and form.missing())
]
FILES = [f"tiny{form.suffix}" for form in WRITTEN]
DYNAMIC = [f"tiny{form.suffix}" for form in WRITTEN if "dynamic" in form.options]
KINDS = [("dynamic", file) for file in DYNAMIC] + [("fixed", file) for file in FILES]


@pytest.fixture(scope="module")
def model():
    return finding_model()


def checkpoint(folder, model):
    save_checkpoint(folder / "tiny.pt", model, epoch=0, fitness=0.0, training={"opt": {"data": "pets.yaml"}}, imgsz=64)
    return str(folder / "tiny.pt")


@pytest.fixture(scope="module")
def folders(model, tmp_path_factory):
    """Return folders with the files of all formats, for any size and for one."""
    found = {}
    for name, options in {"dynamic": {"dynamic": True}, "fixed": {"imgsz": (64, 96), "batch_size": 2}}.items():
        found[name] = tmp_path_factory.mktemp(name)
        weights = checkpoint(found[name], model)
        forms = [form for form in WRITTEN if name == "fixed" or "dynamic" in form.options]
        files = export.run(weights=weights, include=tuple(form.name for form in forms), **options)
        assert [file.name for file in files] == [f"tiny{form.suffix}" for form in forms]
    return found


def test_a_format_is_written_here_or_says_in_one_sentence_what_to_do():
    for form in FORMATS:
        refusal = form.refusal()
        if form.is_written:
            assert refusal is None or refusal[1] == f"pip install {' '.join(form.missing())}"
        else:
            what, fix = refusal
            assert what == f"--include {form.name}: this format is not written here"
            assert fix.startswith("give --include ")
            assert "\n" not in fix


def test_the_end_of_a_name_tells_the_format():
    for form in FORMATS:
        assert format_of(Path(f"runs/best{form.suffix}/")) is form
    assert format_of(Path("best.pt")) is None


@pytest.mark.parametrize(("kind", "file"), KINDS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_file_gives_the_predictions_of_the_model(folders, model, kind, file, count):
    size = (96, 32) if kind == "dynamic" else (64, 96)
    images = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(images)[0]

    backend = load_backend(folders[kind] / file)
    found = backend(images).output

    assert backend.fixed_size == (None if kind == "dynamic" else (64, 96))
    assert (backend.stride, backend.names, backend.trained.data) == (16, model.names, "pets.yaml")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[..., :4], expected[..., :4], rtol=0, atol=1e-3)
    torch.testing.assert_close(found[..., 4:], expected[..., 4:], rtol=0, atol=1e-4)


@pytest.mark.parametrize("channels", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_each_format_takes_images_of_other_channels_and_of_16_bits(tmp_path, channels):
    model = finding_model(ch=channels, bits=16)
    images = torch.rand(1, channels, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(images)[0]

    names = tuple(form.name for form in WRITTEN)
    files = export.run(weights=checkpoint(tmp_path, model), include=names, imgsz=(64,))

    for file in files:
        backend = load_backend(file)
        assert (backend.channels, backend.bits) == (channels, 16)
        torch.testing.assert_close(backend(images).output, expected, rtol=0, atol=1e-3)
        report = json.loads(file.with_name(f"{file.name}.json").read_text())
        assert (report["channels"], report["bits"]) == (channels, 16)
        assert [figures["shape"] for figures in report["verification"]] == [[1, channels, 64, 64]]


def test_suppression_in_the_file_and_open_sizes_go_with_four_channels(tmp_path):
    weights = checkpoint(tmp_path, finding_model(ch=4))

    files = export.run(weights=weights, include=("onnx", "openvino"), nms=True, dynamic=True, imgsz=(64,))
    files += export.run(weights=weights, include=("torchscript",), dynamic=True, imgsz=(64,))

    for file in files:
        backend = load_backend(file)
        assert (backend.channels, backend.bits, backend.fixed_size) == (4, 8, None)
        assert len(backend(torch.rand(3, 4, 32, 96)).output) == 3


@pytest.mark.parametrize("file", DYNAMIC)
def test_a_report_beside_the_file_tells_what_was_measured(folders, file):
    report = json.loads((folders["dynamic"] / f"{file}.json").read_text())

    assert report["file"] == file
    assert report["names"] == {"0": "class 0", "1": "class 1", "2": "class 2"}
    assert report["limits"] == {"box_px": 0.01, "score": 0.001, "same": 0.999, "iou": 0.99}
    shapes = [figures["shape"] for figures in report["verification"]]
    assert shapes == [[2, 3, 48, 64], [1, 3, 64, 64], [2, 3, 64, 64]]
    assert all(figures["box_px"] <= 1e-3 and figures["score"] <= 1e-4 for figures in report["verification"])
    real = report["verification"][-1]
    assert real["detections"] > 20
    assert real["same"] == real["detections"]
    assert "Apache-2.0" in report["license"]


@pytest.fixture
def project(tmp_path, monkeypatch, model):
    """Work in a folder with a data set of three pictures and the checkpoint."""
    monkeypatch.chdir(tmp_path)
    write_tiny_project()
    checkpoint(tmp_path, model)
    return tmp_path


def assert_same_rows(found, expected, tolerance):
    """The order of rows with equal confidences does not matter."""
    assert found.shape == expected.shape
    nearest = np.abs(found[:, None] - expected[None]).max(axis=2).min(axis=0)
    assert nearest.max() <= tolerance


def main(command, config, monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["x", *map(str, flags)])
    with pytest.raises(SystemExit) as end:
        run_command(command.main, config)
    return end.value.code


@pytest.mark.parametrize("file", DYNAMIC)
def test_val_and_detect_run_each_file_as_they_run_the_checkpoint(folders, file, project):
    both = [str(folders["dynamic"] / name) for name in ("tiny.pt", file)]
    figures = [val.run(weights=weights, data="pets.yaml", plots=False, workers=0)[0] for weights in both]
    runs = [detect.run(weights=weights, source="images", save=False, save_txt=True, save_conf=True) for weights in both]

    labels = [np.loadtxt(run / "labels/1.txt") for run in runs]
    assert figures[0] == pytest.approx(figures[1], abs=1e-4)
    assert len(labels[0]) > 10
    assert_same_rows(labels[1], labels[0], 1e-4)


def test_detect_runs_a_file_for_one_size(folders, project):
    runs = [
        detect.run(weights=str(folders["fixed"] / file), source="images", save=False, save_txt=True) for file in FILES
    ]

    labels = [np.loadtxt(run / "labels/1.txt") for run in runs]
    assert len(labels[0]) > 10
    for other in labels[1:]:
        assert_same_rows(other, labels[0], 1e-4)


def test_one_failure_does_not_stop_the_others_and_shows_in_the_exit_code(project, monkeypatch, capsys, caplog):
    caplog.set_level("INFO")

    code = main(export, ExportConfig, monkeypatch, "--weights", "tiny.pt", "--include", "pb", "onnx", "--imgsz", 64)

    assert code == 2
    assert (project / "tiny.onnx").is_file()
    assert "pb  --include pb: this format is not written here; give --include saved_model" in caplog.text
    assert "onnx       0.0 MB  tiny.onnx" in caplog.text
    assert "error: --include pb: this format" in capsys.readouterr().err


def test_a_file_that_differs_is_not_written_and_the_old_one_stays(project, monkeypatch, capsys):
    def wrong(order, path):
        order = replace(order, model=deployable(tiny_model()))
        return write(order, path)

    write = torchscript.write
    monkeypatch.setattr(torchscript, "write", wrong)
    (project / "tiny.torchscript").write_text("old")

    code = main(export, ExportConfig, monkeypatch, "--weights", "tiny.pt", "--include", "torchscript", "--imgsz", 64)

    assert code == 2
    assert "tiny.torchscript: not written: torchscript differs from PyTorch" in capsys.readouterr().err
    assert (project / "tiny.torchscript").read_text() == "old"
    assert not list(project.glob(".*"))
    assert not (project / "tiny.torchscript.json").exists()


def test_what_stands_in_the_way_of_a_file_is_told_and_left_as_it_is(project, monkeypatch, capsys):
    (project / "tiny.onnx").mkdir()
    (project / "tiny.torchscript.json").mkdir()
    (project / "tiny_openvino_model").mkdir()
    (project / "tiny_openvino_model/older.xml").write_text("another network")
    (project / "tiny_openvino_model/readme.txt").write_text("of the user")
    forms = ("onnx", "openvino", "torchscript")

    assert main(export, ExportConfig, monkeypatch, "--weights", "tiny.pt", "--imgsz", 64, "--include", *forms) == 2

    message = " ".join(capsys.readouterr().err.split())
    assert "tiny.onnx: is a folder, and a file of this name is to be written (move it away)" in message
    assert "tiny_openvino_model: holds older.xml, of another network than the one that is to be written" in message
    assert "tiny.torchscript.json: cannot be written (Is a directory) (move that folder away" in message
    assert sorted(file.name for file in (project / "tiny_openvino_model").iterdir()) == ["older.xml", "readme.txt"]
    assert not list(project.glob(".*"))
    (project / "tiny_openvino_model/older.xml").unlink()

    (folder,) = export.run(weights="tiny.pt", imgsz=(64,), include=("openvino",))

    assert load_backend(folder).fixed_size == (64, 64)
    assert (folder / "readme.txt").is_file()


@pytest.mark.parametrize("form", ["openvino", "torchscript"])
def test_a_place_that_takes_nothing_is_told_in_a_sentence(project, monkeypatch, form):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"utils.export.{form}.write", full)
    with pytest.raises(StorageError, match="No space left on device"):
        export.run(weights="tiny.pt", imgsz=(64,), include=(form,))
    monkeypatch.setattr("tempfile.mkdtemp" if form == "openvino" else "tempfile.mkstemp", full)
    with pytest.raises(StorageError, match="No space left on device"):
        export.run(weights="tiny.pt", imgsz=(64,), include=(form,))
    assert not list(project.glob(".*"))


def test_a_path_that_a_shell_or_a_terminal_would_take_apart_is_shown_whole(project, caplog):
    caplog.set_level("INFO")
    (project / "a b").mkdir()
    (project / "tiny.pt").rename(project / "a b/x;\x1b[2J.pt")

    export.run(weights="a b/x;\x1b[2J.pt", imgsz=(64,), include=("onnx", "torchscript"))

    assert "--weights 'a b/x;" in caplog.text
    assert "MB  a b/x;\\x1b[2J.onnx" in caplog.text
    messages = [record.getMessage() for record in caplog.records if record.name == "export"]
    assert any(message.startswith("a b/x;\\x1b[2J.onnx: ") for message in messages)


@pytest.mark.parametrize(
    ("data", "what"),
    [("pests.yaml", "pests.yaml"), ("two.yaml", "two.yaml: 2 classes, but the model finds 3"), ("pets.yaml", "")],
)
def test_data_that_a_file_is_to_name_are_there_and_have_its_classes(project, monkeypatch, capsys, data, what):
    (project / "two.yaml").write_text("train: images\nval: images\nnames: [a, b]\n")

    code = main(export, ExportConfig, monkeypatch, "--weights", "tiny.pt", "--imgsz", 64, "--data", data)

    assert (project / "tiny.onnx").is_file() != bool(what)
    assert what in capsys.readouterr().err
    assert bool(code) == bool(what)


def test_a_file_that_its_own_reader_refuses_is_not_written(project, monkeypatch, capsys):
    monkeypatch.setattr(torchscript, "describe", lambda path, facts: None)

    code = main(export, ExportConfig, monkeypatch, "--weights", "tiny.pt", "--include", "torchscript", "--imgsz", 64)

    assert code == 2
    assert "tiny.torchscript: not written: what was made of it cannot be run: its metadata" in capsys.readouterr().err
    assert not list(project.glob("*.torchscript")) + list(project.glob(".*"))


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--include", "tfjs"], "--include tfjs: this format is not written here"),
        (["--include", "torchscript", "--nms"], "--include torchscript: has no --nms"),
        (["--include", "ncnn", "--dynamic"], "--include ncnn: has no --dynamic"),
        (["--include", "tfjs", "pb"], "2 formats are not written: --include tfjs"),
        (["--include", "onnx", "--workspace", "2"], "--include onnx: has no --workspace"),
        (["--include", "torchscript", "--half"], "float16 in TorchScript is for GPUs"),
        (["--include", "onnx", "--nms", "--opset", "12"], "suppression needs opset 13 or newer, not 12"),
        (["--include", "onxx"], "--include"),
        (["--include", "torchscript", "--opset", "12"], "--include torchscript: has no --opset"),
    ],
)
def test_what_cannot_be_written_is_said_in_a_sentence(project, monkeypatch, capsys, flags, what):
    assert main(export, ExportConfig, monkeypatch, "--weights", "tiny.pt", "--imgsz", 64, *flags) == 2

    message = capsys.readouterr().err
    assert what in message
    assert "fix: " in message


def test_simplify_is_taken_and_said_to_mean_nothing(project, caplog):
    caplog.set_level("INFO")

    export.run(weights="tiny.pt", simplify=True, imgsz=(64,), conf_thres=0.5)

    assert "--simplify means nothing here: the ONNX graph is always simplified" in caplog.text
    assert "--conf-thres means nothing without --nms" in caplog.text


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
def test_a_file_with_suppression_gives_detections(project, model, half, caplog):
    files = export.run(
        weights="tiny.pt", include=("onnx", "openvino"), nms=True, half=half, dynamic=True, imgsz=(64,), max_det=70
    )
    images = torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        raw = Predictions(model(images)[0], model.head.layout)
    expected = non_max_suppression(raw, 0.25, 0.45, max_det=70)

    for file in files:
        backend = load_backend(file)
        predictions = backend(images)
        assert predictions.layout is BN6
        assert predictions.output.shape == (3, 70, 6)
        if not half:
            for found, wanted in zip(non_max_suppression(predictions, 0.25), expected, strict=True):
                assert_same_rows(found.numpy(), wanted.numpy(), 1e-3)
        few = non_max_suppression(predictions, 0.4, classes=[1], max_det=2)
        assert all(len(rows) <= 2 and (rows[:, 4] > 0.4).all() and (rows[:, 5] == 1).all() for rows in few)
        every, own = (non_max_suppression(predictions, 0.25, class_thres=own) for own in ({}, {1: 0.4}))
        for rows, kept in zip(every, own, strict=True):
            assert torch.equal(kept, rows[(rows[:, 5] != 1) | (rows[:, 4] > 0.4)])
        assert sum(map(len, own)) < sum(map(len, every))
        val.run(weights=str(file), data="pets.yaml", plots=False, workers=0)
        assert "the file suppresses by the thresholds of its export" in caplog.text


def test_half_of_the_bytes_hold_the_weights(project, folders):
    files = export.run(weights="tiny.pt", include=("onnx", "openvino", "ncnn"), half=True, imgsz=(64,))

    tensors = onnx.load(files[0]).graph.initializer
    assert {tensor.data_type for tensor in tensors if len(tensor.dims) == 4} == {TensorProto.FLOAT16}
    ends = [onnx.load(files[0]).graph.input[0], onnx.load(files[0]).graph.output[0]]
    assert [value.type.tensor_type.elem_type for value in ends] == [TensorProto.FLOAT] * 2
    for file, full in ((files[1] / "tiny.bin", "tiny_openvino_model"), (files[2] / "tiny.bin", "tiny_ncnn_model")):
        assert file.stat().st_size < 0.7 * (folders["fixed"] / full / "tiny.bin").stat().st_size


class Foreign(nn.Module):
    """Answers as a traced YOLOv5 does: predictions and raw maps."""

    def forward(self, images):
        return images.new_zeros((1, 252, 8)), [images]


def test_a_torchscript_file_of_another_program_runs(tmp_path):
    module = torch.jit.trace(Foreign(), torch.zeros(1, 3, 64, 64), strict=False)
    table = {"shape": [1, 3, 64, 64], "stride": 32, "names": {"0": "a", "1": "b", "2": "c"}}
    torch.jit.save(module, tmp_path / "x.torchscript", _extra_files={"config.txt": json.dumps(table)})

    backend = load_backend(tmp_path / "x.torchscript")

    assert (backend.names, backend.stride, backend.fixed_size) == ({0: "a", 1: "b", 2: "c"}, 32, (64, 64))
    assert backend(torch.zeros(3, 3, 64, 64)).output.shape == (3, 252, 8)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ("", "has no config.txt"),
        ("[1]", "has no config.txt"),
        ("[" * 100_000, "has no config.txt"),
        ('{"stride": 32, "names": ["a", "b", "c"]}', "names no shape"),
        ('{"shape": [0, 3, 64, 64]}', "names no shape"),
        ('{"shape": [1, 17, 64, 64]}', "names no shape"),
        ('{"shape": [1, "3", 64, 64]}', "names no shape"),
        ('{"shape": [1, 3, 64, "x"]}', "its image size is"),
        ('{"shape": [1, 3, 64, 64], "names": ["a"]}', "the stride ''"),
        ('{"shape": [1, 3, 64, 64], "stride": 32, "names": ["a"]}', "neither"),
        ('{"shape": [1, 3, 64, 64], "stride": 32, "names": ["a"], "bits": 12}', "images of '12' bits"),
        ('{"shape": [1, 3, 64, 64], "stride": 32, "names": ["a"], "channels": 0}', "images of '0' channels"),
    ],
)
def test_a_torchscript_file_without_its_facts_is_refused(tmp_path, record, words):
    module = torch.jit.trace(Foreign(), torch.zeros(1, 3, 64, 64), strict=False)
    torch.jit.save(module, tmp_path / "x.torchscript", _extra_files={"config.txt": record})

    with pytest.raises(CheckpointError, match=words):
        load_backend(tmp_path / "x.torchscript")


@pytest.mark.parametrize("suffix", [form.suffix for form in WRITTEN])
def test_a_missing_file_and_one_of_noise_are_refused(tmp_path, suffix):
    with pytest.raises(CheckpointError, match="no such"):
        load_backend(tmp_path / f"x{suffix}")
    form = format_of(tmp_path / f"x{suffix}")
    if not form.is_folder:
        (tmp_path / f"x{suffix}").write_bytes(b"\xff" * 100)
        with pytest.raises(CheckpointError, match="damaged"):
            load_backend(tmp_path / f"x{suffix}")
        return
    (tmp_path / f"x{suffix}").mkdir()
    with pytest.raises(CheckpointError, match="holds 0"):
        load_backend(tmp_path / f"x{suffix}")
    for end in ("xml", "param", "bin"):
        (tmp_path / f"x{suffix}" / f"x.{end}").write_bytes(b"\xff" * 100)
    with pytest.raises(CheckpointError, match=r"x\.yaml|holds 0 \.yaml"):
        load_backend(tmp_path / f"x{suffix}")
    (tmp_path / f"x{suffix}" / "x.yaml").write_text("stride: 32\nnames: {0: a}\nimgsz: 64\n")
    with pytest.raises(CheckpointError, match=r"refuses it|cannot read it"):
        load_backend(tmp_path / f"x{suffix}")


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("utils.formats.find_spec", lambda name: None)

    assert named("ncnn").refusal() == ("--include ncnn: needs ncnn and pnnx", "pip install ncnn pnnx")
    assert named("onnx").refusal() is None


def test_what_this_system_cannot_run_is_written_with_a_warning(project, monkeypatch, caplog):
    def write(order, path):
        (path / "Data/weights").mkdir(parents=True)
        (path / "Data/weights/weight.bin").write_bytes(b"12345678" * 10**5)
        return "written by a stand-in"

    module = SimpleNamespace(write=write, describe=lambda path, facts: (path / "facts.json").write_text(str(facts)))
    monkeypatch.setitem(sys.modules, "utils.export.coreml", module)
    monkeypatch.setattr("utils.formats.find_spec", lambda name: name)
    monkeypatch.setattr(type(FORMATS[0]), "runs_here", property(lambda form: form.name != "coreml"))
    caplog.set_level("INFO")

    files = export.run(weights="tiny.pt", include=("coreml", "torchscript"), imgsz=(64,))

    assert [file.name for file in files] == ["tiny.mlpackage", "tiny.torchscript"]
    assert (files[0] / "Data/weights/weight.bin").stat().st_size == 800_000
    assert "'verification': []" in (files[0] / "facts.json").read_text()
    report = json.loads((project / "tiny.mlpackage.json").read_text())
    assert (report["verification"], report["megabytes"] > 0.8) == ([], True)
    assert report["not_compared"] == "CoreML runs on macOS only; export.py compares it there"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"tiny.mlpackage: NOT compared with PyTorch, because {report['not_compared']}" in warnings
    assert "MB  tiny.mlpackage, not compared" in caplog.text
    assert "--weights tiny.torchscript" in caplog.text
    assert "--weights tiny.mlpackage" not in caplog.text


def test_a_saved_model_does_not_go_by_the_opset_of_the_onnx_file_beside_it(project, monkeypatch):
    opsets = []

    def computed(tf, graph, images):
        opsets.append("Upsample" in {node.op_type for node in graph.node})
        raise RejectedError("seen")

    tf = SimpleNamespace(
        __version__="0",
        Module=SimpleNamespace,
        TensorSpec=lambda *args, **kwargs: None,
        float32=None,
        function=lambda function, **kwargs: function,
        saved_model=SimpleNamespace(save=lambda module, *args, **kwargs: module.detect(None)),
    )
    monkeypatch.setattr("utils.export.saved_model.import_beside_torch", lambda *args: tf)
    monkeypatch.setattr("utils.export.saved_model.computed", computed)
    monkeypatch.setattr("utils.formats.find_spec", lambda name: name)

    with pytest.raises(ExportError, match="tiny_saved_model: not written: seen"):
        export.run(weights="tiny.pt", include=("onnx", "saved_model"), imgsz=(64,), opset=9)

    assert "Upsample" in {node.op_type for node in onnx.load("tiny.onnx").graph.node}
    assert opsets == [False]


def test_coreml_runs_on_macos_only(tmp_path):
    (tmp_path / "x.mlpackage").mkdir()
    if sys.platform != "darwin":
        with pytest.raises(ConfigError, match="CoreML runs on macOS only"):
            load_backend(tmp_path / "x.mlpackage")
    with pytest.raises(CheckpointError, match="no such folder"):
        load_backend(tmp_path / "y.mlpackage")


def test_a_coreml_package_is_asked_by_the_names_and_sizes_that_it_declares(tmp_path, monkeypatch):
    facts = {"stride": "16", "names": '["a", "b", "c"]', "imgsz": "[32, 64]", "layout": "BN5C"}
    images = SimpleNamespace(name="images", type=SimpleNamespace(multiArrayType=SimpleNamespace(shape=[1, 3, 32, 64])))
    description = SimpleNamespace(
        metadata=SimpleNamespace(userDefined=facts), input=[images], output=[SimpleNamespace(name="output0")]
    )

    class Model:
        def __init__(self, path, compute_units):
            assert (path, compute_units) == (str(tmp_path / "x.mlpackage"), "cpu")

        def get_spec(self):
            return SimpleNamespace(description=description)

        def predict(self, feeds):
            return {"output0": np.full((1, 24, 8), feeds["images"].mean(), np.float32)}

    tools = ModuleType("coremltools")
    tools.models, tools.ComputeUnit = SimpleNamespace(MLModel=Model), SimpleNamespace(CPU_ONLY="cpu")
    monkeypatch.setitem(sys.modules, "coremltools", tools)
    monkeypatch.setattr("utils.backends.coreml.sys", SimpleNamespace(platform="darwin"))
    (tmp_path / "x.mlpackage").mkdir()

    backend = load_backend(tmp_path / "x.mlpackage")

    assert (backend.fixed_size, backend.channels, backend.names[2]) == ((32, 64), 3, "c")
    found = backend(torch.cat((torch.zeros(1, 3, 32, 64), torch.ones(1, 3, 32, 64)))).output
    assert found[:, 0, 0].tolist() == [0, 1]
    images.type.multiArrayType.shape = [1, 64, 32, 3]
    with pytest.raises(CheckpointError, match="instead of one batch"):
        load_backend(tmp_path / "x.mlpackage")


def package(name):
    if find_spec(name) is None:
        pytest.skip(f"needs {name}")
    return import_beside_torch(name, Path("x"))


@pytest.mark.slow
def test_a_coreml_package_holds_the_facts(project, caplog):
    tools = package("coremltools")

    (file,) = export.run(weights="tiny.pt", include=("coreml",), imgsz=(64, 96))

    spec = tools.models.utils.load_spec(str(file))
    facts = read_metadata(dict(spec.description.metadata.userDefined), file)
    assert (facts.stride, facts.names[1], facts.trained.imgsz) == (16, "class 1", (64, 96))
    assert list(spec.description.input[0].type.multiArrayType.shape) == [1, 3, 64, 96]
    assert [output.name for output in spec.description.output] == ["output0"]


def test_a_saved_model_that_would_write_a_file_is_refused(tmp_path):
    tf = package("tensorflow")
    folder = tmp_path / "x_saved_model"

    @tf.function
    def inner(images):
        with tf.control_dependencies([tf.io.write_file(str(tmp_path / "harm"), "x")]):
            return tf.identity(images)

    module = tf.Module()
    module.detect = tf.function(
        lambda images: {"output0": inner(images)},
        input_signature=[tf.TensorSpec((1, 3, 32, 32), tf.float32, name="images")],
    )
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.detect})
    (folder / "x.yaml").write_text("stride: 32\nnames: {0: a}\nimgsz: 32\n")

    with pytest.raises(CheckpointError, match="an operation of TensorFlow that is not run here: WriteFile"):
        load_backend(folder)

    assert not (tmp_path / "harm").exists()


FAMILIES = ["yolov5n", "yolov5n-emo", "yolov5n-repvit", "yolov5n-fasternet", "yolov5n-repvgg", "yolov8n"]
NOT_IN_NCNN = ["yolov5n-emo"]  # pnnx leaves a reshape of its attention that ncnn does not have


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_wrong_layer_would_show_in_what_is_compared(family):
    torch.manual_seed(0)
    model = enlivened(DetectionModel(f"{family}.yaml", nc=6, load_backbone=False))
    images = example_images((1, 3, 96, 160))
    with torch.inference_mode():
        before = model(images)[0]
        for layer in model.model[len(model.model) // 3].modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.data *= 1.1
        after = model(images)[0]

    box, score = Predictions(after - before, model.head.layout).largest()
    assert box > 3e-2
    assert score > 3e-3


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [True, False], ids=["dynamic", "fixed"])
@pytest.mark.parametrize("opset", [17, 21], ids=["script", "program"])  # PyTorch's two exporters
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_models_is_written_in_every_format(tmp_path, family, opset, dynamic):
    torch.manual_seed(0)
    model = enlivened(DetectionModel(f"{family}.yaml", nc=6, load_backbone=False))
    save_checkpoint(tmp_path / "x.pt", model, epoch=0, fitness=0.0, training={})
    forms = [form for form in WRITTEN if not dynamic or "dynamic" in form.options]
    if opset == 21:  # the others do not change
        forms = [form for form in forms if "opset" in form.options]
    if family in NOT_IN_NCNN:
        forms = [form for form in forms if form.name != "ncnn"]

    names = tuple(form.name for form in forms)
    files = export.run(weights=str(tmp_path / "x.pt"), include=names, imgsz=(96, 160), dynamic=dynamic, opset=opset)

    for file in files:
        figures = json.loads((tmp_path / f"{file.name}.json").read_text())["verification"]
        assert len(figures) == 2 + dynamic
        assert max(figure["box_px"] for figure in figures) <= 1e-2
        assert max(figure["score"] for figure in figures) <= 1e-3
        assert figures[-1]["same"] >= 0.999 * figures[-1]["detections"] > 20
