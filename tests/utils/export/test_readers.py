"""The programs of docs/export.md, which know nothing of this repository, find what detect.py finds."""

import re
import subprocess
import sys

import pytest
import torch
from tiny_detector import finding_model

import detect
import export
from utils.boxes import box_iou
from utils.checkpoint.native import save_checkpoint
from utils.data.image.read import image_shape
from utils.runs import ROOT

PICTURE = ROOT / "data/images/shapes-1.jpg"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with the files and the checkpoint that they were made from."""
    folder = tmp_path_factory.mktemp("readers")
    save_checkpoint(folder / "tiny.pt", finding_model(), epoch=0, fitness=0.0, training={}, imgsz=64)
    export.run(weights=str(folder / "tiny.pt"), include=("onnx", "openvino"))
    return folder


@pytest.fixture(scope="module")
def expected(folder):
    """Return what detect.py finds: (n, 6) [class, xyxy in pixels, confidence]."""
    run = detect.run(
        weights=str(folder / "tiny.onnx"), source=str(PICTURE), project=str(folder / "runs"), save=False,
        save_txt=True, save_conf=True, save_format=1,
    )  # fmt: skip
    rows = [line.split() for line in (run / "labels/shapes-1.txt").read_text().splitlines()]
    table = torch.tensor([[float(value) for value in row] for row in rows])
    height, width = image_shape(PICTURE)
    table[:, 1:5] *= torch.tensor([width, height, width, height])
    return table


@pytest.mark.parametrize(
    ("program", "file"),
    [
        ("read_onnx.py", "tiny.onnx"),
        ("read_opencv.py", "tiny.onnx"),
        ("read_openvino.py", "tiny_openvino_model"),
    ],
)
def test_a_reader_finds_what_detect_finds(folder, expected, program, file):
    page = (ROOT / "docs/export.md").read_text(encoding="utf-8")
    code = re.search(rf"```python\n(# {program}\n.*?)```", page, re.DOTALL)[1].replace("SIZE = 640", "SIZE = 64")
    assert len(code.splitlines()) <= 30

    command = [sys.executable, "-I", "-c", code, str(folder / file), str(PICTURE)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    lines = [re.fullmatch(r"(?:class )?(\d) ([\d.]+) \[(.*)\]", line).groups() for line in done.stdout.splitlines()]
    found = torch.tensor([[float(c), float(s), *map(float, box.split(","))] for c, s, box in lines])
    corners = torch.cat((found[:, 2:4], found[:, 2:4] + found[:, 4:6]), dim=1)
    height, width = image_shape(PICTURE)
    corners = corners.clamp(min=torch.zeros(4), max=torch.tensor([width, height, width, height]))
    alike = (box_iou(expected[:, 1:5], corners) > 0.9) & (expected[:, None, 0] == found[:, 0])
    alike &= (expected[:, None, 5] - found[:, 1]).abs() < 0.006
    assert len(expected) > 10
    assert abs(len(found) - len(expected)) <= 1
    assert alike.any(dim=1).float().mean() > 0.95
