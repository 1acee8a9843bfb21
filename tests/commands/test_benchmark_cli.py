"""benchmark.py on three small pictures: a backbone from the user's file, one that does not exist, and a second call."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_detector import write_tiny_project

import benchmark
from utils.config import parse_config
from utils.configs.benchmark import BenchmarkConfig
from utils.runs import ROOT

NET = """
from torch import nn


class Net(nn.Module):
    def __init__(self, reductions, in_channels):
        super().__init__()
        self.reductions, self.feature_channels = reductions, [8, 16]
        self.p3 = nn.Conv2d(in_channels, 8, 8, stride=8)
        self.p4 = nn.Conv2d(8, 16, 2, stride=2)

    def forward(self, images):
        p3 = self.p3(images)
        return [p3, self.p4(p3)]


def net(*, reductions=(8, 16), in_channels=3):
    return Net(reductions, in_channels)
"""


@pytest.fixture
def flags(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for each other are slow where tests run in parallel
    write_tiny_project()
    Path("net.py").write_text(NET)
    text = "--cfg tiny.yaml --data pets.yaml --imgsz 64 --epochs 1 --batch 2 --workers 0 --device cpu"
    return [*text.split(), "--project", str(tmp_path / "boards"), "--backbones", "net.py:net", "nope_m1"]


def test_one_table_for_all_and_nothing_measured_twice(flags, tmp_path, caplog):
    caplog.set_level("INFO")
    cfg = parse_config(BenchmarkConfig, flags, prog="benchmark.py")

    benchmark.main(cfg)

    folder = tmp_path / "boards/exp"
    net, nope = json.loads((folder / "results.json").read_text())["rows"]
    assert net["backbone"] == "net.py:net"
    assert net["finished"]
    assert not [key for key, value in net.items() if value is None]
    assert "nope_m1" in nope["remark"]
    assert nope["map"] is None
    assert f"results in {folder}" in caplog.text
    assert {"leaderboard.md", "leaderboard.csv", "pareto.png"} <= {path.name for path in folder.iterdir()}

    before = (folder / "leaderboard.csv").read_text()
    benchmark.main(parse_config(BenchmarkConfig, flags[:-1], prog="benchmark.py"))
    assert (folder / "leaderboard.csv").read_text() == before
    assert not (tmp_path / "boards/exp2").exists()


def test_help_is_there_before_pytorch_is_imported():
    probe = (
        "import runpy, sys\n"
        "sys.argv = ['benchmark.py', '--help']\n"
        "try:\n"
        f"    runpy.run_path({str(ROOT / 'benchmark.py')!r}, run_name='__main__')\n"
        "finally:\n"
        "    assert 'torch' not in sys.modules and 'cv2' not in sys.modules\n"
    )
    result = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
    assert "--backbones" in result.stdout
