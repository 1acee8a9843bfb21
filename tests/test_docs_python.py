"""Every Python block of the documentation runs as it stands, in a folder with the files that it takes as given."""

import json
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

# Every block in a namespace of its own, in one process: importing PyTorch takes longer than any of them.
RUN = """
import json, sys, traceback

failures = {}
for name, code in json.load(sys.stdin).items():
    try:
        exec(compile(code, name, "exec"), {"__name__": "__main__"})
    except BaseException:
        failures[name] = traceback.format_exc()
print("\\n" + json.dumps(failures))
"""


def python_blocks() -> dict[str, str]:
    """Return page and line → code."""
    blocks = {}
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            blocks[f"{page}:{text.count(chr(10), 0, block.start()) + 1}"] = block[1]
    return blocks


BLOCKS = python_blocks()
TRAINING = {name for name, code in BLOCKS.items() if "train.run" in code}


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


def failures(names, folder: Path) -> dict[str, str]:
    result = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", RUN],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"},
        input=json.dumps({name: BLOCKS[name] for name in names}),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_the_blocks_run(folder: Path):
    names = BLOCKS.keys() - TRAINING

    assert names and failures(sorted(names), folder) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TRAINING))
def test_a_block_that_trains_runs(name: str, folder: Path):
    assert failures([name], folder) == {}
