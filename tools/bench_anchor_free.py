"""Time and memory of the anchor-free loss, forward and backward, from empty images to crowded ones.

    python -m tools.bench_anchor_free [side]

Maps of a batch of 16, 80 classes, at 320 px unless said, laid out as training on the CPU has them, on one thread,
every case in a process of its own.
"""

import logging
import multiprocessing
import statistics
import sys
import time

import torch
from torch import Tensor

from utils.losses.anchor_free_loss import AnchorFreeGains, AnchorFreeLoss
from utils.training.peak import PeakMemory

log = logging.getLogger(__name__)
BATCH, NC, REG_MAX, ROUNDS = 16, 80, 16, 9
STRIDES = (8, 16, 32)
BOXES = (0, 10, 300)  # per image


def make_targets(boxes: int) -> Tensor:
    """Return ``boxes`` targets per image, sides up to 0.6 of it."""
    targets = torch.rand(BATCH * boxes, 6) * torch.tensor([1, NC, 1, 1, 0.6, 0.6])
    targets[:, 0] = torch.arange(BATCH).repeat_interleave(boxes)
    targets[:, 1].floor_()
    return targets


def measure(dtype: torch.dtype, boxes: int, side: int) -> tuple[float, float]:
    """Return the median of the milliseconds, and the MB that the peak lies above what was in use, gradient included."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    maps = [torch.randn(BATCH, 4 * REG_MAX + NC, side // s, side // s) - 2 for s in STRIDES]
    maps = [m.to(dtype, memory_format=torch.channels_last).requires_grad_() for m in maps]
    loss, targets = AnchorFreeLoss(STRIDES, NC, REG_MAX, AnchorFreeGains()), make_targets(boxes)
    memory = PeakMemory(torch.device("cpu"))
    memory.reset()
    before, milliseconds = memory.now(), []
    loss(maps, make_targets(1))[0].backward()  # warm-up
    for _ in range(ROUNDS):
        for m in maps:
            m.grad = None
        start = time.perf_counter()
        loss(maps, targets)[0].backward()
        milliseconds.append((time.perf_counter() - start) * 1e3)
    return statistics.median(milliseconds), (memory.peak() - before) / 1e6


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    side = int(sys.argv[1]) if len(sys.argv) > 1 else 320
    cases = [(dtype, boxes, side) for dtype in (torch.float32, torch.bfloat16) for boxes in BOXES]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:  # memory freed by one hides the next
        for (dtype, boxes, _), (spent, memory) in zip(cases, pool.starmap(measure, cases, chunksize=1), strict=True):
            name = str(dtype).removeprefix("torch.")
            log.info("%-8s %3d boxes per image: %6.1f ms, %5.0f MB", name, boxes, spent, memory)


if __name__ == "__main__":
    main()
