"""Training step of yolov5n at 320 px, batch 16: channels_last with autocast to bfloat16 against contiguous float32.

python -m tools.bench_step [model.yaml]      # forward, loss, backward; rounds of both interleaved, the ratio of medians
"""

import logging
import statistics
import sys
import time

import torch

from models.detector import DetectionModel
from utils.device import autocast, autocast_dtype
from utils.losses.anchor_loss import DetectionLoss, LossGains

log = logging.getLogger(__name__)

BATCH, SIDE, ROUNDS, WARMUP = 16, 320, 12, 2


def make(cfg: str, memory_format: torch.memory_format, dtype: torch.dtype | None):
    """Return a function that runs one training step and returns its seconds."""
    torch.manual_seed(0)
    model = DetectionModel(cfg, load_backbone=False).to(memory_format=memory_format).train()
    loss = DetectionLoss(model.head.anchors, model.nc, LossGains())
    images = torch.rand(BATCH, 3, SIDE, SIDE).to(memory_format=memory_format)
    targets = torch.rand(8 * BATCH, 6) * torch.tensor([BATCH, model.nc, 1, 1, 0.5, 0.5])
    targets[:, :2] = targets[:, :2].floor()

    def step() -> float:
        start = time.perf_counter()
        with autocast(torch.device("cpu"), dtype):
            maps = model(images)
        loss(maps, targets)[0].backward()
        model.zero_grad()
        return time.perf_counter() - start

    return step


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cfg = sys.argv[1] if len(sys.argv) > 1 else "models/yolov5n.yaml"
    dtype = autocast_dtype(torch.device("cpu"), amp=True)
    steps = {
        "contiguous, float32": make(cfg, torch.contiguous_format, None),
        f"channels_last, {dtype or 'float32'}": make(cfg, torch.channels_last, dtype),
    }
    times = {name: [] for name in steps}
    for round_ in range(WARMUP + ROUNDS):
        for name, step in steps.items():
            seconds = step()
            if round_ >= WARMUP:
                times[name].append(seconds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        log.info("%-32s %8.1f ms per step of %d, %d threads", name, seconds * 1e3, BATCH, torch.get_num_threads())
    slow, fast = medians.values()
    log.info("ratio %.2f", slow / fast)


if __name__ == "__main__":
    main()
