"""The ranges of numbers, and a command that ends well on every terminal and GPU."""

import dataclasses
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch

from utils.config import option, parse_config, run_command
from utils.engine.configs import ExportConfig, TrainConfig
from utils.engine.configs_benchmark import BenchmarkConfig
from utils.engine.configs_infer import DetectConfig, ValConfig
from utils.errors import ConfigError
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
            assert field.metadata["low"] >= 0, field.name
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
        (DetectConfig, "--classes -1"),
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


def test_a_gpu_without_enough_memory_ends_with_code_2_and_no_traceback(monkeypatch, capsys):
    def main(cfg):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(SystemExit) as end:
        run_command(main, Example)

    assert end.value.code == 2
    assert "smaller --batch-size" in capsys.readouterr().err


def test_other_errors_keep_their_traceback(monkeypatch):
    def main(cfg):
        raise RuntimeError("a bug")

    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(RuntimeError, match="a bug"):
        run_command(main, Example)


@pytest.mark.parametrize(
    "command",
    [("train.py", "--help"), ("detect.py", "--help"), ("models/yolo.py", "--cfg", "yolov5n-emo.yaml")],
    ids=" ".join,
)
def test_a_terminal_that_knows_ascii_only_sees_question_marks(command):
    result = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True
    )

    assert result.returncode == 0, result.stderr
    assert b"Error" not in result.stderr
    assert result.stdout.isascii()
