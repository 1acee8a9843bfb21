"""Threads give way to other programs, and come back; numbers of the machine are invented."""

import subprocess
import sys
import time
from collections import namedtuple

import psutil
import pytest
import torch

from utils.training import cores
from utils.training.cores import CoreShare, free_threads

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("count", "taken", "limit", "threads"),
    [
        (2, 0.0, 2, 2),
        (2, 0.4, 2, 2),  # a little is always going on
        (2, 1.0, 2, 1),
        (2, 7.0, 2, 1),  # never none
        (16, 3.9, 16, 16),
        (16, 10.0, 16, 6),
        (16, 10.0, 4, 4),  # OMP_NUM_THREADS=4 fits beside them
        (16, -0.1, 8, 8),
    ],
)
def test_threads_use_what_others_leave(count, taken, limit, threads):
    assert free_threads(count, taken, limit) == threads


@pytest.fixture
def machine(monkeypatch):
    """A machine of 4 cores and its clocks: seconds that have passed, CPU seconds of others; PyTorch's threads: 4."""
    now = {"time": 0.0, "others": 0.0, "threads": 4, "changes": 0}

    def set_threads(count):
        now["changes"] += 1
        now["threads"] = count

    monkeypatch.setattr(cores.time, "monotonic", lambda: now["time"])
    monkeypatch.setattr(cores, "_others_seconds", lambda: now["others"])
    monkeypatch.setattr(cores.psutil, "cpu_count", lambda: 4)
    monkeypatch.setattr(cores, "usable_cpus", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: now["threads"])
    monkeypatch.setattr(torch, "set_num_threads", set_threads)
    return now


def pass_time(machine, share, seconds, taken):
    for _ in range(seconds):
        machine["time"] += 1
        machine["others"] += taken
        share.adapt()


def test_threads_give_way_and_come_back(machine, caplog):
    caplog.set_level("INFO")
    share = CoreShare(CPU)

    pass_time(machine, share, 30, taken=0.3)
    assert (machine["threads"], machine["changes"]) == (4, 0)
    pass_time(machine, share, 30, taken=2.0)
    assert (machine["threads"], machine["changes"]) == (2, 1)
    assert "other programs use 2.0 of 4 cores: 2 threads from here on" in caplog.text
    pass_time(machine, share, 30, taken=0.0)
    assert (machine["threads"], machine["changes"]) == (4, 2)


@pytest.mark.parametrize("why", ["a GPU computes", "a part of the machine", "one thread"])
def test_threads_stay_where_what_others_use_says_nothing(machine, monkeypatch, why):
    if why == "a part of the machine":
        monkeypatch.setattr(cores, "usable_cpus", lambda: 3)
    if why == "one thread":
        machine["threads"] = 1
    share = CoreShare(torch.device("cuda") if why == "a GPU computes" else CPU)

    pass_time(machine, share, 30, taken=3.0)

    assert machine["changes"] == 0


def test_our_own_work_is_not_that_of_others(monkeypatch):
    frozen = psutil.cpu_times()
    monkeypatch.setattr(cores.psutil, "cpu_times", lambda: frozen)
    before, start = cores._others_seconds(), time.process_time()

    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    while time.process_time() - start < 0.3:
        pass

    assert before - cores._others_seconds() >= 0.5  # clocks of processes tick in hundredths


@pytest.mark.parametrize(
    ("passed", "seconds"), [({"user": 1}, 1), ({"system": 2}, 2), ({"idle": 3}, 0), ({"user": 1, "guest": 1}, 1)]
)
def test_all_time_but_idle_time_is_work(monkeypatch, passed, seconds):
    times = {"user": 10.0, "system": 10.0, "idle": 10.0, "iowait": 10.0, "guest": 10.0}
    clock = namedtuple("clock", times)
    monkeypatch.setattr(cores, "_seconds", lambda process: 0.0)
    monkeypatch.setattr(cores.psutil, "cpu_times", lambda: clock(**times))
    before = cores._others_seconds()

    times |= {key: times[key] + value for key, value in passed.items()}

    assert cores._others_seconds() - before == seconds
