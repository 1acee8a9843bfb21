"""Class and file names that would steer a terminal or be run by a spreadsheet, through whole commands."""

import logging
import sys

import cv2
import numpy as np
import pytest

import detect
import val
from utils.checkpoint.native import save_checkpoint
from utils.command import run_command
from utils.configs.detect import DetectConfig
from utils.configs.val import ValConfig
from utils.yaml_file import write_yaml

HOSTILE = "a\x1b[2J\x1b]0;owned\x07\n\r\x9b1m\u202egpj"
CLASSES = [f"=1+1{HOSTILE}", f"$^$_{HOSTILE}"]
ALLOWED = {"\n", "\r"}  # line ends of ours, and the return of the progress bar


@pytest.fixture
def weights(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_model, "names", dict(enumerate(CLASSES)))
    save_checkpoint(tmp_path / "tiny.pt", tiny_model, epoch=0, fitness=0.0, training={}, imgsz=64)
    return tmp_path / "tiny.pt"


@pytest.fixture
def picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("images", "labels"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    path = tmp_path / "set" / "images" / f"{HOSTILE}.png"
    cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (48, 96, 3), dtype=np.uint8))[1].tofile(path)
    (tmp_path / "set" / "labels" / f"{HOSTILE}.txt").write_text("0 0.5 0.5 0.4 0.4\n1 0.5 0.5 0.2 0.2\n7 bad\n")
    return path


@pytest.fixture
def shown(monkeypatch, capfd):
    """Run a command as from a shell, and return its exit code and all it shows."""

    def run(main, config, *flags):
        monkeypatch.setattr(logging.getLogger(), "handlers", [])
        monkeypatch.setattr(sys, "argv", ["command", *map(str, flags)])
        with pytest.raises(SystemExit) as end:
            run_command(main, config)
        streams = capfd.readouterr()
        return end.value.code, streams.out + streams.err

    return run


def assert_harmless(text):
    wrong = {char for char in text if not char.isprintable()} - ALLOWED
    assert not wrong, ascii(text)
    assert "\u202e" not in text


def test_detect_shows_them_escaped_and_in_one_line(weights, picture, shown):
    flags = ("--weights", weights, "--max-det", 5, "--save-csv", "--save-crop")
    code, text = shown(detect.main, DetectConfig, "--source", picture.parent, *flags)

    assert code == 0
    assert_harmless(text)
    assert r"a\x1b[2J\x1b]0;owned\x07\n\r\x9b1m\u202egpj.png: " in text
    table = next(picture.parents[2].glob("runs/detect/exp/predictions.csv")).read_bytes().decode()
    assert_harmless(table)
    assert all(line.split(",")[1].startswith(("'=1+1", "$^$_")) for line in table.splitlines()[1:])


def test_val_shows_them_escaped_and_in_one_row_each(weights, picture, shown):
    write_yaml("pets.yaml", {"path": "set", "train": "images", "val": "images", "names": CLASSES})
    code, text = shown(val.main, ValConfig, "--weights", weights, "--data", "pets.yaml", "--workers", 0)

    assert code == 0
    assert_harmless(text)
    rows = [line for line in text.splitlines() if line.startswith(("=1+1", "$^$_"))]
    assert [row.split()[1:3] for row in rows[:2]] == [["1", "1"], ["1", "1"]]
    assert len(rows) == 4  # those of COCO's figures, too


def test_an_error_shows_them_escaped(weights, shown, tmp_path):
    code, text = shown(detect.main, DetectConfig, "--weights", weights, "--source", tmp_path / f"{HOSTILE}.jpg")

    assert code == 2
    assert_harmless(text)
    assert len([line for line in text.splitlines() if line.startswith(("error:", "fix:"))]) == len(text.splitlines())
