"""Train on the cores that other programs leave.

PyTorch's threads split every operation and wait for each other at its end. Where another program has one of the cores,
all wait for the thread that has none: two trainings with two threads each on two cores take 1.4 to 7 times as long as
one after the other, with one thread each they take less (``python -m tools.bench_busy``).
"""

import logging
import time

import psutil
import torch

from utils.device import usable_cpus
from utils.dist import world
from utils.text import counted

log = logging.getLogger(__name__)

WINDOW_S = 5.0  # between two looks
IDLE = ("idle", "iowait", "guest", "guest_nice")  # times of no program; those of guests are counted in user too
BUSY = 0.25  # share of the cores that others must use before threads give way


class CoreShare:
    """Sets the number of PyTorch's threads to what is free, never above what it was; on a quiet machine it stays."""

    def __init__(self, device: torch.device) -> None:
        """``adapt`` does nothing on a GPU, with other processes of the run, and where it has a part of the cores."""
        self.cores = psutil.cpu_count() or 1
        self.limit = torch.get_num_threads()
        self.active = device.type == "cpu" and world() == 1 and self.limit > 1 and usable_cpus() == self.cores
        self.since, self.others = time.monotonic(), _others_seconds() if self.active else 0.0

    def adapt(self) -> None:
        """Look, every few seconds, how many cores other programs have used since the last look."""
        passed = time.monotonic() - self.since
        if not self.active or passed < WINDOW_S:
            return
        others = _others_seconds()
        taken = (others - self.others) / passed
        self.since, self.others = time.monotonic(), others
        threads = free_threads(self.cores, taken, self.limit)
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)
            log.info(
                "other programs use %.1f of %d cores: %s from here on", taken, self.cores, counted(threads, "thread")
            )

    def release(self) -> None:
        """Give PyTorch its threads back, for what the process does next."""
        torch.set_num_threads(self.limit)


def free_threads(cores: int, taken: float, limit: int) -> int:
    """Return how many threads to use where other programs have ``taken`` of the ``cores``."""
    return limit if taken < BUSY * cores else max(1, min(limit, round(cores - taken)))


def _others_seconds() -> float:
    """Return the CPU seconds of all programs since the machine was started, less those of this one and its children."""
    machine = psutil.cpu_times()
    ours = psutil.Process()
    own = [ours, *ours.children(recursive=True)]
    idle = sum(getattr(machine, name, 0.0) for name in IDLE)
    return sum(machine) - idle - sum(map(_seconds, own))


def _seconds(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and of its ended children; 0 for one that has just gone."""
    try:
        return sum(process.cpu_times()[:4])  # user, system, and both of ended children
    except psutil.Error:
        return 0.0
