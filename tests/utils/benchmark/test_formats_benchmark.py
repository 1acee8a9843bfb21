"""benchmark.py --formats: a row for each format, a remark for what fails, nothing beside the user's weights."""

import csv
import dataclasses
import json
import shutil
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import onnxruntime
import openvino
import pytest
import torch
from tiny_detector import finding_model, write_tiny_project

import benchmark
import val
from utils.backends import onnx
from utils.backends import openvino as openvino_backend
from utils.benchmark import formats, latency, mode
from utils.benchmark.formats import judge, open_job, run_formats
from utils.benchmark.formats_table import Row, formats_table
from utils.benchmark.latency import measure_steady
from utils.benchmark.measure_format import measure_format
from utils.benchmark.mode import mode_of, wanted_formats
from utils.benchmark.subprocess_run import IsolatedError
from utils.checkpoint.native import save_checkpoint
from utils.checkpoint.onnx_file import OnnxFile
from utils.command import run_command
from utils.config import make_config, parse_config
from utils.configs.benchmark import BenchmarkConfig
from utils.errors import CheckpointError, ConfigError, DataError, ExportError
from utils.formats import FORMATS, Format, named
from utils.yaml_file import write_yaml


@pytest.fixture
def options(tmp_path, monkeypatch):
    """Options for a detector of 13 thousand parameters that was trained on three pictures; few passes are enough."""
    monkeypatch.chdir(tmp_path)
    write_tiny_project()
    Path("mine").mkdir()
    training = {"opt": {"data": "pets.yaml"}}
    save_checkpoint(Path("mine/tiny.pt"), finding_model(), epoch=0, fitness=0.0, training=training, imgsz=64)
    for name, value in {"WARMUP": 1, "ROUND": 2, "RUNS": 2, "LEAST_S": 0.0, "LONGEST_S": 0.0}.items():
        monkeypatch.setattr(latency, name, value)
    monkeypatch.setattr(formats, "isolated", lambda function, *args: function(*args))
    shared = {"weights": "mine/tiny.pt", "batch_size": 2, "workers": 0, "device": "cpu", "project": "boards"}
    return partial(dict, **shared)


@pytest.fixture
def config(options):
    return lambda **more: make_config(BenchmarkConfig, options(**more))


def measured(calls):
    """Return a measurement that lists what it is asked for; ONNX fails in it."""

    def measure(job, name, folder):
        calls.append(name)
        yield {"megabytes": 1.0, "remark": "slowly"}
        if name == "onnx":
            raise IsolatedError("out of luck")
        yield {"map": 0.25, "map50": 0.5, "finished": True}

    return measure


def test_formats_are_measured_from_size_to_accuracy_and_once_only(config, caplog):
    caplog.set_level("INFO")
    cfg = config(formats=("torchscript", "pb"))

    benchmark.main(cfg)

    folder = Path("boards/exp").absolute()
    assert {path.name for path in Path("mine").iterdir()} == {"tiny.pt"}
    assert {path.name for path in (folder / "files").iterdir()} == {"tiny.torchscript", "tiny.torchscript.json"}
    with (folder / "formats.csv").open() as file:
        pytorch, torchscript, refused = csv.DictReader(file)
    assert not [key for key, value in torchscript.items() if value == "" and key != "remark"]
    assert [row["map"] for row in (pytorch, torchscript)] == [pytorch["map"]] * 2
    assert (float(torchscript["box_px"]), pytorch["box_px"]) == (pytest.approx(0, abs=1e-2), "")
    assert [row["batch"] for row in (pytorch, torchscript)] == ["2", "2"]
    assert (refused["remark"], refused["map"]) == ("this format is not written here", "")
    assert (folder / "formats.png").is_file()
    assert "| torchscript |" in caplog.text
    assert "on squares of 64" in caplog.text

    calls = []
    board = run_formats(cfg, wanted_formats(cfg), measured(calls))
    assert (calls, board.folder) == ([], folder)


def test_a_format_that_fails_leaves_a_remark_and_the_others_go_on(config):
    cfg, calls = config(formats=("onnx", "torchscript", "onnx")), []
    wanted = wanted_formats(cfg)

    board = run_formats(cfg, wanted, measured(calls))
    again = run_formats(cfg, wanted, measured(calls))

    assert calls == ["pytorch", "onnx", "torchscript", "onnx"]
    assert [row.format for row in again.ordered()] == ["pytorch", "torchscript", "onnx"]
    assert board.rows["onnx",] == Row("onnx", megabytes=1.0, remark="slowly; out of luck")
    judge(board, wanted, None)  # is content
    with pytest.raises(ExportError, match="1 format failed: onnx"):
        judge(board, wanted, 0.0)
    with pytest.raises(ExportError, match="no format could be measured"):
        judge(board, {"pytorch": "", "onnx": ""}, None)


def test_a_low_map_is_a_failure_where_the_user_says_so(config):
    cfg = config(formats=("torchscript",))
    board = run_formats(cfg, wanted_formats(cfg), measured([]))

    judge(board, wanted_formats(cfg), 0.25)
    with pytest.raises(ExportError, match=r"--hard-fail 0\.3: mAP50-95 of pytorch 0\.2500, torchscript 0\.2500"):
        judge(board, wanted_formats(cfg), 0.3)


def test_an_export_that_is_refused_costs_its_row_only(config):
    cfg = config(formats=("torchscript",), half=True)

    with pytest.raises(ExportError, match="no format could be measured"):
        benchmark.main(cfg)

    rows = {row["format"]: row for row in json.loads(Path("boards/exp/results.json").read_text())["rows"]}
    assert rows["torchscript"]["remark"].startswith("tiny.torchscript: not written: float16 in TorchScript is for GPUs")
    assert (rows["pytorch"]["finished"], rows["pytorch"]["remark"][:10]) == (True, "in float32")


def test_other_settings_go_into_another_folder(config):
    folders = [
        run_formats(cfg, wanted_formats(cfg), measured([])).folder.name
        for cfg in (config(formats=("pytorch",), **more) for more in ({}, {"imgsz": 96}, {"half": True}, {}))
    ]

    assert folders == ["exp", "exp2", "exp3", "exp"]


def test_integers_are_rows_beside_those_of_floats_in_the_same_table(config, caplog):
    caplog.set_level("INFO")
    benchmark.main(config(formats=("onnx",)))

    benchmark.main(config(formats=("onnx", "torchscript"), int8=True, half=False))

    with Path("boards/exp/formats.csv").open() as file:
        rows = {row["format"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["pytorch", "torchscript", "onnx", "onnx int8"]
    assert not [key for key, value in rows["onnx int8"].items() if value == "" and key != "remark"]
    assert float(rows["onnx int8"]["megabytes"]) != float(rows["onnx"]["megabytes"])
    assert float(rows["onnx int8"]["box_px"]) > 10 * float(rows["onnx"]["box_px"])
    assert "kept: 2 finished rows" in caplog.text
    assert "in float32, int8 in 8-bit integers" in caplog.text
    report = json.loads(Path("boards/exp/files/tiny_int8.onnx.json").read_text())
    assert report["int8"] == {"calibration": {"images": 3, "data": "pets.yaml"}}
    found = val.run(weights="boards/exp/files/tiny_int8.onnx", data="pets.yaml", plots=False, workers=0)[0]
    assert found[3] == pytest.approx(float(rows["onnx int8"]["map"]), abs=1e-6)


def test_integers_that_were_calibrated_with_other_images_are_measured_again(config):
    shutil.copytree("images", "train/images")
    shutil.copytree("labels", "train/labels")
    write_yaml("other.yaml", {"train": "train/images", "val": "images", "names": ["cat", "dog", "eel"]})
    cfg, calls = config(formats=("openvino",), int8=True, data="other.yaml"), []
    for _ in range(2):
        run_formats(cfg, {"openvino": "", "openvino int8": ""}, measured(calls))
    Path("train/images/2.png").unlink()
    run_formats(cfg, {"openvino": "", "openvino int8": ""}, measured(calls))

    assert calls == ["openvino", "openvino int8", "openvino int8"]


def test_half_and_int8_are_of_different_rows(config, monkeypatch):
    job = open_job(config(formats=("onnx",), half=True))
    halves = []

    def make_order(job, batch):
        halves.append(job.half)
        raise ConfigError("seen", "")

    for name in ("onnx", "onnx int8"):
        list(measure_format(job, name, Path(), make_order))

    assert halves == [True, False]


def test_integers_need_a_format_that_can_and_training_images(config, monkeypatch):
    with pytest.raises(ConfigError, match="--int8: nothing of ncnn, pytorch can be in integers") as error:
        wanted_formats(BenchmarkConfig(formats=("ncnn", "pytorch"), int8=True))
    assert "add onnx or openvino to --formats" in error.value.fix
    monkeypatch.setattr("utils.formats.find_spec", lambda name: None if name == "nncf" else name)
    found = wanted_formats(BenchmarkConfig(formats=("openvino", "torchscript"), int8=True))
    needs = "--int8 needs nncf (pip install nncf)"
    assert found == {"pytorch": "", "openvino": "", "openvino int8": needs, "torchscript": ""}

    write_yaml("other.yaml", {"train": "gone", "val": "images", "names": ["cat", "dog", "eel"]})
    with pytest.raises(DataError, match="gone"):
        run_formats(config(formats=("onnx",), int8=True, data="other.yaml"), {}, measured([]))
    assert not Path("boards").exists()


def test_other_labels_or_images_go_into_another_folder(config):
    cfg, folders = config(formats=("pytorch",)), []
    for change in (
        lambda: None,
        lambda: Path("labels/0.txt").write_text("0 0.5 0.5 0.25 0.5\n"),
        lambda: Path("images/1.png").rename("images/4.png"),
        lambda: None,
    ):
        change()
        folders.append(run_formats(cfg, wanted_formats(cfg), measured([])).folder.name)

    assert folders == ["exp", "exp2", "exp3", "exp3"]


def test_data_and_size_are_those_of_the_training_unless_they_are_given(config):
    Path("others.yaml").write_text(Path("pets.yaml").read_text())
    own, given = open_job(config(formats=("all",))), open_job(config(formats=("all",), data="others.yaml", imgsz=96))

    assert (Path(own.data).name, own.imgsz) == ("pets.yaml", 64)
    assert (Path(given.data).name, given.imgsz) == ("others.yaml", 96)


def test_a_model_of_one_class_is_measured_on_data_of_several_where_all_are_one(config):
    model = finding_model(nc=1)
    save_checkpoint(
        Path("mine/tiny.pt"), model, epoch=0, fitness=0.0, training={"opt": {"data": "pets.yaml"}}, imgsz=64
    )
    with pytest.raises(ConfigError, match="3 classes, but the model finds 1") as error:
        open_job(config(formats=("pytorch",)))
    assert "--single-cls" in error.value.fix

    assert open_job(config(formats=("pytorch",), single_cls=True)).validation("mine/tiny.pt").single_cls


def test_what_is_no_checkpoint_is_refused_before_a_folder_is_made(config):
    Path("mine/none.pt").write_bytes(b"nothing")
    for weights in ("mine/none.pt", "mine/absent.pt"):
        cfg = config(formats=("pytorch",), weights=weights)
        with pytest.raises(CheckpointError):
            run_formats(cfg, wanted_formats(cfg), measured([]))

    assert not Path("boards").exists()


@pytest.mark.parametrize(
    ("val", "what"),
    [
        ("bare", "none of the 3 images has a label"),
        ("empty", "no images"),
        ("gone", "gone"),
        (None, "val"),
    ],
)
def test_data_that_cannot_tell_a_map_are_refused_before_anything_is_measured(options, monkeypatch, capsys, val, what):
    Path("bare").mkdir()
    Path("empty").mkdir()
    for index in range(3):
        shutil.copy(f"images/{index}.png", "bare")
    write_yaml("other.yaml", {"train": "images", "names": ["cat", "dog", "eel"]} | ({"val": val} if val else {}))
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options(data="other.yaml").items()]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--formats", *flags])

    with pytest.raises(SystemExit) as end:
        run_command(benchmark.main, BenchmarkConfig, goes_on=True)

    message = capsys.readouterr().err
    assert end.value.code == 2
    assert what in message
    assert "fix: " in message
    assert not Path("boards").exists()


def test_without_names_all_that_can_be_written_is_measured(monkeypatch):
    absent = Format("tomorrow", ".tomorrow", ("package_of_tomorrow",))
    monkeypatch.setattr(mode, "FORMATS", (*FORMATS, absent))
    monkeypatch.setattr(mode, "named", lambda name: absent if name == "tomorrow" else named(name))

    found = wanted_formats(parse_config(BenchmarkConfig, ["--formats"], prog="x"))
    assert list(found) == ["pytorch", *(form.name for form in FORMATS if form.refusal() is None)]
    assert not any(found.values())
    found = wanted_formats(BenchmarkConfig(formats=("tomorrow", "onnx")))
    assert found["tomorrow"] == "needs package_of_tomorrow (pip install package_of_tomorrow)"
    with pytest.raises(ConfigError, match="nothing to measure: tomorrow: needs package_of_tomorrow"):
        wanted_formats(BenchmarkConfig(formats=("tomorrow", "pytorch")))


@pytest.mark.parametrize(
    ("flags", "what", "fix"),
    [
        ("--weights best.pt", "--weights means nothing without --formats", "add --formats"),
        ("--backbone emo_1m", "--backbone means nothing without --formats", "or write --backbones"),
        ("--batches 1 2", "--batches means nothing without --reparam", "add --reparam"),
        ("--formats --epochs 3", "--epochs means nothing with --formats", "leave --epochs out"),
        ("--reparam own --half", "--half means nothing with --reparam", "leave --half out"),
        ("--reparam own --formats", "--reparam and --formats are two benchmarks", "give one of them"),
    ],
)
def test_an_option_of_another_benchmark_is_refused(flags, what, fix):
    with pytest.raises(ConfigError) as error:
        mode_of(parse_config(BenchmarkConfig, flags.split(), prog="x"))

    assert error.value.what == what
    assert fix in error.value.fix


def test_every_option_belongs_to_a_benchmark():
    names = {field.name for field in dataclasses.fields(BenchmarkConfig)} - {"given", "from_file"}

    assert set().union(*mode.USES.values()) == names


@pytest.mark.parametrize(
    ("milliseconds", "passes", "steady"),
    [([5.0] * 100, 10, True), ([5.0] * 5 + [6.0] * 17, 22, True), (range(99), 50, 0)],
)
def test_a_latency_is_measured_until_both_halves_agree_or_time_is_over(monkeypatch, milliseconds, passes, steady):
    clock, times = [0.0], iter(milliseconds)
    for name, value in {"WARMUP": 0, "ROUND": 2, "RUNS": 10, "LEAST_S": 0.0, "LONGEST_S": 1.2}.items():
        monkeypatch.setattr(latency, name, value)
    monkeypatch.setattr(latency, "now", lambda device: clock[0])

    def model(images):
        clock[0] += next(times) / 1e3

    found = measure_steady(model, torch.zeros(1))

    assert (found.passes, found.is_steady) == (passes, bool(steady))


def test_runtimes_that_do_not_ask_pytorch_get_its_number_of_threads(tmp_path, monkeypatch):
    seen = []

    def session(content, options, providers):
        seen.append((options.intra_op_num_threads, options.get_session_config_entry("session.intra_op.allow_spinning")))

    class Core:
        def compile_model(self, file, device, config):
            seen.append(config["INFERENCE_NUM_THREADS"])
            raise RuntimeError

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(openvino, "Core", Core)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    onnx._session(OnnxFile(Path("x.onnx"), b"", frozenset(), {}), torch.device("cpu"))
    (tmp_path / "x.xml").write_text("")
    (tmp_path / "x.yaml").write_text("stride: 32\nnames: [cat]\n")
    with pytest.raises(CheckpointError):
        openvino_backend.load(tmp_path, torch.device("cpu"))

    assert seen == [(3, "0"), 3]


def test_what_is_written_here_but_cannot_run_here_is_no_row_of_all(monkeypatch):
    monkeypatch.setattr("utils.formats.find_spec", lambda name: name)
    monkeypatch.setattr("utils.formats.sys", SimpleNamespace(platform="linux"))

    assert "coreml" not in wanted_formats(BenchmarkConfig(formats=("all",)))
    assert "runs on macOS only" in wanted_formats(BenchmarkConfig(formats=("coreml", "onnx")))["coreml"]
    with pytest.raises(ConfigError, match="nothing to measure: coreml: runs on macOS only"):
        wanted_formats(BenchmarkConfig(formats=("coreml",)))
    monkeypatch.setattr("utils.formats.sys", SimpleNamespace(platform="darwin"))
    assert wanted_formats(BenchmarkConfig(formats=("all",)))["coreml"] == ""


def test_the_heading_tells_the_batch_and_no_remark_breaks_the_table(tmp_path):
    kind = formats_table(8)
    board = formats.open_board(kind, tmp_path, "exp", {}, [])
    board.add(Row("onnx", p50_ms=2.04, p95_ms=3.0, images_per_s=20.0, batch=8, box_px=2e-4, score=1e-6, remark="a | b"))

    lines = board.markdown().splitlines()
    cells = dict(zip(*([cell.strip() for cell in lines[row].split(" | ")] for row in (1, 3)), strict=True))
    assert cells["images/s, batch 8"] == "20.0"
    assert cells["one image p50 / p95 (ms)"] == "2.0 / 3.0"
    assert cells["difference, box and score"] == "2e-04 px, 1e-06"
    assert "a \\| b" in lines[3]
    assert (tmp_path / "exp/formats.png").is_file()  # of a format whose mAP is not known
