"""Every Python block of the documentation runs as it stands, in a folder with the files that it takes as given."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_detector import tiny_model

from utils.checkpoint.native import save_checkpoint
from utils.data.shapes.dataset import draw_picture
from utils.plots.image_file import write_image
from utils.runs import ROOT

PAGES = ["README.md", "README.zh-CN.md", "docs/python.md"]


def python_blocks():
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, block.start()) + 1
            trains = "train.run" in block[1]
            yield pytest.param(block[1], id=f"{page}:{line}", marks=pytest.mark.slow if trains else ())


@pytest.fixture
def folder(tmp_path):
    model = tiny_model()
    for layer in model.head.m:
        layer.bias.data.view(model.head.na, -1)[:, 4:] = 2.0
    save_checkpoint(tmp_path / "best.pt", model, epoch=0, fitness=0.0, training={}, imgsz=96)
    write_image(tmp_path / "street.jpg", draw_picture("val", 0)[0])
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "models").symlink_to(ROOT / "models")
    return tmp_path


@pytest.mark.parametrize("code", python_blocks())
def test_a_block_runs(code: str, folder: Path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}

    result = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )

    assert result.returncode == 0, result.stderr
