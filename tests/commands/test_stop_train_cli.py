"""train.py is stopped as schedulers and users stop it, with all its processes: what is saved, said and left over."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_detector import write_tiny_project

from utils.runs import ROOT

FLAGS = "--cfg tiny.yaml --data pets.yaml --imgsz 64 --batch-size 2 --epochs 100000 --save-steps 1 --workers 2"
WAITED_S, GRACE_S = 60, 2.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="groups of processes, /proc")


def group_members(group):
    """Return the processes of a group that have not ended."""
    members = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, owner = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        members += [int(entry.name)] if int(owner) == group and state != "Z" else []
    return members


def wait_until(is_so, seconds):
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(0.02)
    return is_so()


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Training that has saved a state, in a group of processes of its own."""
    monkeypatch.chdir(tmp_path)
    write_tiny_project()
    command = [sys.executable, str(ROOT / "train.py"), *FLAGS.split(), "--device", "cpu", "--noplots"]
    with Path("log.txt").open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        assert wait_until((tmp_path / "runs/train/exp/weights/last.prev.pt").exists, WAITED_S)
        yield process
    finally:
        for member in group_members(process.pid):
            os.kill(member, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_signal_to_the_whole_group_saves_the_run_and_leaves_nobody(started, tmp_path, number, code):
    os.killpg(started.pid, number)
    assert started.wait(WAITED_S) == code

    assert wait_until(lambda: not group_members(started.pid), GRACE_S)
    text = (tmp_path / "log.txt").read_text()
    last = tmp_path / "runs/train/exp/weights/last.pt"
    state = torch.load(last, weights_only=True)["training"]["resume"]
    assert f"saved up to batch {state['batch']} of epoch {state['epoch']}: {last}" in text
    assert f"to go on from there: --resume {last.parents[1]}" in text
    assert "Traceback" not in text and "error" not in text.lower()


@pytest.mark.slow
def test_a_killed_run_leaves_a_whole_state_and_nobody(started, tmp_path):
    os.kill(started.pid, signal.SIGKILL)
    assert started.wait(WAITED_S) == -signal.SIGKILL

    assert wait_until(lambda: not group_members(started.pid), GRACE_S)
    torch.load(tmp_path / "runs/train/exp/weights/last.pt", weights_only=True)
