"""Flags, YAML files, registries, run folders and atomic files behave as their docstrings promise."""

import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from utils.config import option, option_fields, parse_config
from utils.configs.export import ExportConfig
from utils.configs.train import TrainConfig
from utils.errors import ConfigError
from utils.registry import Registry
from utils.runs import ROOT, atomic_write, new_run_dir
from utils.yaml_file import parse_yaml, read_yaml, write_yaml


@dataclass(frozen=True)
class Example:
    batch_size: int = option(16, help="images", aliases=("--batch",))
    save: bool = option(True, help="save", aliases=("--nosave",))
    cache: str = option("", help="cache", const="ram", choices=("ram", "disk", ""))
    imgsz: tuple[int, ...] = option((640,), help="size")
    limit: float | None = option(None, help="limit")


def test_flags_fill_the_dataclass():
    argv = ["--batch", "4", "--nosave", "--cache", "--imgsz", "320", "416", "--limit", "0.5"]
    assert parse_config(Example, argv) == Example(4, False, "ram", (320, 416), 0.5)
    assert parse_config(Example, []) == Example()
    assert parse_config(Example, ["--batch_size", "8"]).batch_size == 8


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--batchsize", "4"], "did you mean --batch"),
        (["--batch", "four"], "--batch four is not a whole number"),
        (["--cache", "disc"], "--cache disc is not possible"),
        (["stray"], "unexpected argument 'stray'"),
        (["--save", "--nosave"], "--save and --nosave contradict each other"),
    ],
)
def test_a_wrong_flag_is_an_error_with_a_suggestion(argv, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(Example, argv)


def test_a_duplicate_key_is_refused_with_both_lines():
    with pytest.raises(ConfigError, match=r"f\.yaml:3:1: key 'a' stands twice \(first in line 1\)"):
        parse_yaml("a: 1\nb: 2\na: 3\n", "f.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [true]",
        "a: [1, 2",
        "a:\n\t- 1",
        "x: &x [*x]",
        "[" * 200 + "]" * 200,
        "a: &a [1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{c}: &{c} [{', '.join(['*' + b] * 9)}]\n" for b, c in zip("abcdef", "bcdefg", strict=True)),
    ],
    ids=["tag", "open bracket", "tab", "cycle", "deep", "alias bomb"],
)
def test_hostile_or_broken_yaml_is_one_config_error(text):
    with pytest.raises(ConfigError, match=r"^f\.yaml"):
        parse_yaml(text, "f.yaml")


def test_numbers_with_exponents_are_numbers():
    assert parse_yaml("[1e-3, -2E+4, 1.5e3, 1_000, e5, 1.0]", "f") == [0.001, -20000.0, 1500.0, 1000, "e5", 1.0]


def test_written_yaml_reads_back_in_order(tmp_path):
    data = {"z": [1, 2.5, None], "a": {"name": "Grün", "on": True}}
    write_yaml(tmp_path / "x.yaml", data)
    assert list(read_yaml(tmp_path / "x.yaml").items()) == list(data.items())


def test_a_registry_answers_a_wrong_name_with_the_closest():
    table = Registry("backbone")
    table.register("emo_1m", "EMO_1M")(1)
    assert table.get("EMO_1M") == 1
    assert list(table) == ["emo_1m"]
    with pytest.raises(ConfigError, match=r"unknown backbone 'emo_1n'\nfix: did you mean emo_1m"):
        table.get("emo_1n")


def test_run_folders_count_up(tmp_path):
    names = [new_run_dir(tmp_path / "runs", "exp").name for _ in range(3)]
    assert names == ["exp", "exp2", "exp3"]
    assert new_run_dir(tmp_path / "runs", "exp", exist_ok=True).name == "exp"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "best.pt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_written_file_has_the_usual_permissions(tmp_path):
    with atomic_write(tmp_path / "x.txt") as temporary:
        temporary.write_text("new")
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "x.txt").stat().st_mode & 0o777 == 0o666 & ~mask


HELP = """
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as stop:
    assert stop.code in (0, None), stop.code
heavy = {"torch", "cv2", "numpy", "matplotlib", "timm", "pandas"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize("script", ["train.py", "val.py", "detect.py", "export.py"])
def test_help_needs_no_heavy_import(script):
    result = subprocess.run([sys.executable, "-c", HELP, script], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "--weights" in result.stdout


@pytest.mark.parametrize("config", [TrainConfig, ExportConfig])
def test_every_option_has_help(config):
    assert all(field.metadata["help"] for field in option_fields(config))
