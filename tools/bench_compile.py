"""What --compile does to the time of a training step: python -m tools.bench_compile [MODEL] [--imgsz N] [--batch N].

Steps with and without it take turns in one process; the figures are medians, with the least and the most of the ratios.
"""

import argparse
import logging
import time
from statistics import median

import torch

from models.detector import DetectionModel
from utils.device import autocast, autocast_dtype

log = logging.getLogger(__name__)

STEPS = 9
DEVICE = torch.device("cpu")


def step(model: DetectionModel, images: torch.Tensor, dtype: torch.dtype | None) -> float:
    """Return the seconds of a forward and a backward pass of this process's CPU time."""
    start = time.process_time()
    with autocast(DEVICE, dtype):
        maps = model(images)
    sum(each.float().square().mean() for each in maps).backward()
    model.zero_grad(set_to_none=True)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="yolov5n")
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--batch", type=int, default=4)
    args = parser.parse_args()
    written, compiled = (DetectionModel(args.model).train().to(memory_format=torch.channels_last) for _ in range(2))
    images = torch.rand(args.batch, 3, args.imgsz, args.imgsz).to(memory_format=torch.channels_last)
    dtype = autocast_dtype(DEVICE, True)
    compiled.compile()
    start = time.monotonic()
    step(compiled, images, dtype)
    threads = torch.get_num_threads()
    log.info(
        "%s, %d images of %d px, %d threads, %s", args.model, args.batch, args.imgsz, threads, dtype or torch.float32
    )
    log.info("compiled in %.0f s", time.monotonic() - start)
    step(written, images, dtype)
    pairs = [(step(written, images, dtype), step(compiled, images, dtype)) for _ in range(STEPS)]
    ratios = [after / before for before, after in pairs]
    before, after = (1e3 * median(column) for column in zip(*pairs, strict=True))
    log.info("CPU time of a step: %.0f ms as written, %.0f ms compiled", before, after)
    log.info("ratio %.2f (%.2f to %.2f)", median(ratios), min(ratios), max(ratios))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
