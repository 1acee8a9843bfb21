"""Training step at 320 px, batch 16: what memory format and bfloat16 bring, what a GFLOP of a model and its loss cost.

python -m tools.bench_step [MODEL …]   # yolov5n and yolov8n unless said; all interleaved, medians

The first model runs in channels_last with autocast and in contiguous float32 as well. The loss has ten boxes an image;
its time is that of assignment, terms and their gradients down to the maps.
"""

import logging
import statistics
import sys
import time
from collections.abc import Callable

import torch

from models.detector import DetectionModel
from models.summary import count_flops
from utils.device import autocast, autocast_dtype
from utils.hyper import hyper_fields
from utils.losses import build_loss, find_loss

log = logging.getLogger(__name__)

BATCH, SIDE, BOXES, ROUNDS, WARMUP = 16, 320, 10, 12, 2
FORWARD_AND_BACKWARD = 3  # times the operations of a forward pass, roughly


def build(cfg: str) -> DetectionModel:
    torch.manual_seed(0)
    return DetectionModel(cfg, load_backbone=False).train()


def make(
    model: DetectionModel, memory_format: torch.memory_format, dtype: torch.dtype | None
) -> Callable[[], tuple[float, float]]:
    """Return a function that runs one training step and returns its seconds, and those of the loss in it."""
    model = model.to(memory_format=memory_format)
    hyp = {name: item.default for name, item in hyper_fields(*find_loss(type(model.head)).hyper).items()}
    loss = build_loss(model.head, hyp, SIDE)
    images = torch.rand(BATCH, 3, SIDE, SIDE).to(memory_format=memory_format)
    targets = torch.rand(BOXES * BATCH, 6) * torch.tensor([BATCH, model.nc, 1, 1, 0.5, 0.5])
    targets[:, :2] = targets[:, :2].floor()

    def step() -> tuple[float, float]:
        start = time.perf_counter()
        with autocast(torch.device("cpu"), dtype):
            maps = model(images)
        leaves = [m.detach().requires_grad_() for m in maps]
        before_loss = time.perf_counter()
        loss(leaves, targets)[0].backward()
        of_loss = time.perf_counter() - before_loss
        torch.autograd.backward(maps, [leaf.grad for leaf in leaves])
        model.zero_grad()
        return time.perf_counter() - start, of_loss

    return step


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    names = sys.argv[1:] or ["yolov5n", "yolov8n"]
    dtype = autocast_dtype(torch.device("cpu"), amp=True)
    models = {name: build(name) for name in names}
    gflops = {name: FORWARD_AND_BACKWARD * BATCH * count_flops(models[name], SIDE) / 1e9 for name in names}
    plain = f"{names[0]}, contiguous float32"
    steps = {name: make(model, torch.channels_last, dtype) for name, model in models.items()}
    steps[plain] = make(build(names[0]), torch.contiguous_format, None)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for round_ in range(WARMUP + ROUNDS):
        for name, step in steps.items():
            spent = step()
            if round_ >= WARMUP:
                times[name].append(spent)
    medians = {name: [statistics.median(part) for part in zip(*spent, strict=True)] for name, spent in times.items()}
    for name, (seconds, of_loss) in medians.items():
        per_gflop = f"{1e3 * seconds / gflops[name]:6.2f} ms per GFLOP" if name in gflops else ""
        share = f"loss {100 * of_loss / seconds:4.1f} %"
        log.info("%-32s %8.1f ms per step of %d, %s  %s", name, seconds * 1e3, BATCH, share, per_gflop)
    log.info("%d threads; channels_last, %s", torch.get_num_threads(), dtype or "float32")
    first = medians[names[0]][0]
    log.info("contiguous float32 / channels_last: %.2f", medians[plain][0] / first)
    for name in names[1:]:
        ratio = (medians[name][0] / gflops[name]) / (first / gflops[names[0]])
        log.info("time per GFLOP, %s / %s: %.2f", name, names[0], ratio)


if __name__ == "__main__":
    main()
