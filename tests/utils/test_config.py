"""The ranges of numbers, and a command that ends well on every terminal and GPU."""

import ast
import dataclasses
import os
import re
import subprocess
import sys
import typing
from dataclasses import dataclass

import pytest
import torch

from utils import absent_flags
from utils.command import run_command
from utils.config import check_config, make_config, option, option_fields, parse_config
from utils.configs.benchmark import BenchmarkConfig
from utils.configs.detect import DetectConfig
from utils.configs.export import ExportConfig
from utils.configs.train import TrainConfig
from utils.configs.val import ValConfig
from utils.errors import ConfigError
from utils.parser import build_parser
from utils.runs import ROOT

CONFIGS = [TrainConfig, ValConfig, DetectConfig, ExportConfig, BenchmarkConfig]


@dataclass(frozen=True)
class Example:
    batch_size: int = option(16, help="images", low=1)
    sizes: tuple[int, ...] = option((64,), help="sides", low=32, high=128)
    rate: float | None = option(None, help="rate", low=0, high=1)


@pytest.mark.parametrize("argv", [["--batch-size", "1"], ["--sizes", "32", "128"], ["--rate", "0"], ["--rate", "1"]])
def test_the_ends_of_a_range_are_in_it(argv):
    parse_config(Example, argv)


@pytest.mark.parametrize(
    ("argv", "message", "fix"),
    [
        (["--batch-size", "0"], "--batch-size 0 is out of range", "give 1 or more"),
        (["--sizes", "64", "129"], "--sizes 129 is out of range", "give a number from 32 to 128"),
        (["--rate", "1.01"], "--rate 1.01 is out of range", "give a number from 0 to 1"),
        (["--rate", "nan"], "--rate nan is out of range", "give a number from 0 to 1"),
    ],
)
def test_a_number_out_of_range_is_named_with_its_range(argv, message, fix):
    with pytest.raises(ConfigError) as error:
        parse_config(Example, argv)

    assert (error.value.what, error.value.fix) == (message, fix)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_every_number_has_a_range_and_its_default_lies_in_it(config):
    for field in dataclasses.fields(config):
        if any(kind in str(field.type) for kind in ("int", "float")) and not field.metadata["choices"]:
            least = -1 if field.name in ("save_period", "local_rank") else 0  # -1: never, none
            assert field.metadata["low"] >= least, field.name
    assert parse_config(config, [], prog="x") == config()


@pytest.mark.parametrize(
    ("config", "flags"),
    [
        (TrainConfig, "--epochs 0"),
        (TrainConfig, "--batch-size 0"),
        (TrainConfig, "--workers -1"),
        (TrainConfig, "--imgsz 16"),
        (TrainConfig, "--imgsz 99999"),
        (TrainConfig, "--seed -1"),
        (TrainConfig, "--seed 4294967296"),
        (TrainConfig, "--patience -1"),
        (TrainConfig, "--backbone-lr 0"),
        (TrainConfig, "--backbone-lr nan"),
        (TrainConfig, "--backbone-lr inf"),
        (ValConfig, "--batch-size 0"),
        (ValConfig, "--conf-thres -0.1"),
        (ValConfig, "--iou-thres nan"),
        (ValConfig, "--max-det 0"),
        (DetectConfig, "--imgsz 640 0"),
        (DetectConfig, "--iou-thres 1.5"),
        (DetectConfig, "--tile 31"),
        (DetectConfig, "--vid-stride 0"),
        (DetectConfig, "--line-thickness -1"),
        (ExportConfig, "--batch-size -3"),
        (ExportConfig, "--opset 0"),
        (BenchmarkConfig, "--epochs -1"),
    ],
)
def test_an_impossible_number_is_refused_before_anything_starts(config, flags):
    with pytest.raises(ConfigError, match="is out of range"):
        parse_config(config, flags.split(), prog="x")


@pytest.mark.parametrize(
    ("ends", "what"),
    [
        (lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), "the GPU has too little"),
        (lambda: torch.empty(2**55), "the machine has too little"),  # PyTorch's own error
    ],
    ids=["GPU", "CPU"],
)
def test_too_little_memory_ends_with_code_2_and_no_traceback(monkeypatch, capsys, ends, what):
    def main(cfg):
        raise ends()

    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(SystemExit) as end:
        run_command(main, Example)

    error = capsys.readouterr().err
    assert end.value.code == 2
    assert what in error and "smaller --batch-size" in error


def test_other_errors_keep_their_traceback(monkeypatch):
    def main(cfg):
        raise RuntimeError("a bug")

    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(RuntimeError, match="a bug"):
        run_command(main, Example)


@pytest.mark.parametrize("own", [{}, {"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "7"}], ids=str)
def test_waiting_threads_sleep_soon_unless_the_user_says_otherwise(own):
    code = (
        "import os, sys\nfrom utils.command import run_command\nfrom utils.configs.train import TrainConfig\n"
        "run_command(lambda cfg: print('torch' in sys.modules, os.environ.get('GOMP_SPINCOUNT')), TrainConfig)"
    )
    environment = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}

    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment | own, capture_output=True, text=True
    )

    assert result.stdout.split() == ["False", "2000" if not own else own.get("GOMP_SPINCOUNT", "None")]


@pytest.mark.parametrize(
    "command",
    [
        ("train.py", "--help"),
        ("detect.py", "--help"),
        pytest.param(("models/yolo.py", "--cfg", "yolov5n-emo.yaml"), marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_a_terminal_that_knows_ascii_only_sees_question_marks(command):
    result = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True
    )

    assert result.returncode == 0, result.stderr
    assert b"Error" not in result.stderr
    assert result.stdout.isascii()


def test_help_fits_80_columns_but_for_commands_that_stay_whole_to_be_copied(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for config, script in zip(CONFIGS, ("train", "val", "detect", "export", "benchmark"), strict=True):
        about = ast.get_docstring(ast.parse((ROOT / f"{script}.py").read_text()))
        hints = typing.get_type_hints(config)
        lines = build_parser(option_fields(config), hints, f"{script}.py", about).format_help().splitlines()

        assert [line for line in lines if len(line) > 80 and not line.startswith("python ")] == []
        assert [line for line in lines if line.startswith("python ") and "#" in line] == []
        commands = [line.partition("  #")[0].rstrip() for line in about.splitlines() if line.startswith("python ")]
        assert set(commands) <= set(lines)


@pytest.mark.parametrize(
    ("config", "flags", "expected"),
    [
        (ValConfig, "--conf 0.3 --iou 0.7", {"conf_thres": 0.3, "iou_thres": 0.7}),
        (DetectConfig, "--conf=0.3 --img 320 640 --agnostic", {"imgsz": (320, 640), "agnostic_nms": True}),
        (TrainConfig, "--img 320 --batch 4 --epoch 3 --nop", {"batch_size": 4, "epochs": 3, "plots": False}),
        (TrainConfig, "--no-pl --exist", {"plots": False, "exist_ok": True}),
    ],
)
def test_a_flag_may_be_shortened_as_long_as_it_can_be_only_one(config, flags, expected):
    cfg = parse_config(config, flags.split(), prog="x")

    assert {name: getattr(cfg, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("flags", "given", "expected"),
    [("--img 320", 320, 320), ("--img 320", [320], 320), ("--imgsz 480 640", (480, 640), (480, 640))],
)
def test_an_option_of_one_number_or_two_is_a_number_or_a_tuple(flags, given, expected):
    assert parse_config(TrainConfig, flags.split(), prog="x").imgsz == expected
    assert make_config(TrainConfig, {"imgsz": given}).imgsz == expected
    assert check_config(TrainConfig(imgsz=expected)).imgsz == expected


@pytest.mark.parametrize(
    ("config", "flags", "what", "fix"),
    [
        (
            DetectConfig,
            "--save-c",
            "unknown argument '--save-c'",
            "it could be --save-conf or --save-csv or --save-crop",
        ),
        (TrainConfig, "--epocs 3", "unknown argument '--epocs'", "did you mean --epochs"),
        (ValConfig, "--batch 64 32", "--batch takes one value, and '32' is one more", "give one number"),
        (DetectConfig, "--source my photo.jpg", "--source takes one value, and 'photo.jpg' is one more", "quotes"),
        (TrainConfig, "epochs", "unexpected argument 'epochs'", "see --help"),
        (TrainConfig, "--resume_evolve=x.yaml", "--resume_evolve of YOLOv5's train.py", "give --resume"),
        (TrainConfig, "--save-period 0", "--save-period 0: no epoch", "-1 for never"),
        (TrainConfig, "--freeze neck", "--freeze neck: no rows go by this name", "'backbone'"),
        (DetectConfig, "--weights best.pb", "--weights best.pb: this format", ".onnx"),
        (TrainConfig, "--entity us", "--entity of YOLOv5's train.py", "WANDB_ENTITY"),
        (TrainConfig, "--artifact_alias=latest", "--artifact_alias of YOLOv5's train.py", "no logger here takes"),
        (TrainConfig, "--bucket gs://x", "--bucket of YOLOv5's train.py", "copy that"),
        (DetectConfig, "--update", "--update of YOLOv5's detect.py", "utils.checkpoint convert"),
        (ExportConfig, "--keras", "--keras of YOLOv5's export.py", "no layers of Keras"),
        (ExportConfig, "--cache", "--cache of YOLOv5's export.py", "TensorRT"),
        (ExportConfig, "--topk-per-class 10", "--topk-per-class of YOLOv5's export.py", "--topk-all"),
        (BenchmarkConfig, "--pt-only", "--pt-only of YOLOv5's benchmarks.py", "--formats pytorch"),
    ],
)
def test_what_yolov5_knows_and_we_do_not_gets_its_answer(config, flags, what, fix):
    with pytest.raises(ConfigError) as error:
        parse_config(config, flags.split(), prog="x")

    assert what in error.value.what
    assert fix in error.value.fix


def test_the_page_for_users_of_yolov5_lists_just_the_flags_that_are_answered():
    rows = re.findall(
        r"^\| `(\w+)\.py` \| (.*?) \|", (ROOT / "docs/migrate.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    listed = {(command, flag) for command, flags in rows for flag in re.findall(r"`(--[\w-]+)`", flags)}

    assert listed == {(command, flag) for command, flags in absent_flags.FLAGS.items() for flag in flags}


def test_what_is_answered_as_absent_is_absent():
    commands = {config.__name__.removesuffix("Config").lower(): config for config in CONFIGS}
    for command, flags in absent_flags.FLAGS.items():
        own = {field.name for field in dataclasses.fields(commands[command])}
        assert not own & {flag[2:].replace("-", "_") for flag in flags}
    options = {field.name for config in CONFIGS for field in dataclasses.fields(config)}
    assert {option for option, *_ in absent_flags.VALUES} <= options


@pytest.mark.parametrize(
    "command",
    [
        "train.py --noplots --plots",
        "val.py --task race",
        "val.py --img 64 96",
        "detect.py --weights x.pb",
        "export.py --img 64 64 64",
    ],
)
def test_a_wrong_argument_is_answered_before_pytorch_is_imported(command):
    script, *flags = command.split()
    check = f"import sys, runpy; sys.argv = {[script, *flags]}\ntry: runpy.run_path({script!r}, run_name='__main__')"
    check += "\nexcept SystemExit as end: print(end.code, 'torch' in sys.modules)"

    result = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)

    assert result.stdout.split() == ["2", "False"]
