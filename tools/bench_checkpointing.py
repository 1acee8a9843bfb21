"""What --checkpointing saves and costs: peak memory and time of a training step on the CPU, with it and without.

python -m tools.bench_checkpointing [MODEL] [--imgsz 320] [--batch 4]   # yolov5n-emo unless said

The peak is that of the process above what it needs before its first step. Times are CPU seconds, medians
of steps in turns; the ratio is the median of the pairs, and behind it stand the least and the largest.
"""

import argparse
import copy
import logging
import statistics
import time

import torch

from models.detector import DetectionModel
from utils.training.checkpointing import recompute_blocks
from utils.training.peak import PeakMemory

log = logging.getLogger(__name__)

ROUNDS = 5


def step(model: DetectionModel, images: torch.Tensor) -> float:
    """Train on a batch without updating weights; return the CPU seconds, which others on the machine change little."""
    start = time.process_time()
    sum(maps.square().mean() for maps in model(images)).backward()
    model.zero_grad()
    return time.process_time() - start


def measure(name: str, imgsz: int, batch: int) -> None:
    torch.manual_seed(0)
    plain = DetectionModel(name, load_backbone=False).train().to(memory_format=torch.channels_last)
    again = copy.deepcopy(plain)
    recompute_blocks(again, (imgsz, imgsz))
    images = torch.rand(batch, 3, imgsz, imgsz).to(memory_format=torch.channels_last)
    memory = PeakMemory(torch.device("cpu"))
    before, peaks = memory.now(), []
    for model in (again, plain):  # the smaller peak first, for a process may keep what was freed
        memory.reset()
        step(model, images)
        peaks.append(memory.peak() - before)
    title = f"{name}, {imgsz}×{imgsz} px, batch {batch}"
    log.info("%s: peak %.2f → %.2f GB (%.2f×)", title, peaks[1] / 1e9, peaks[0] / 1e9, peaks[0] / peaks[1])
    times = [(step(again, images), step(plain, images)) for _ in range(ROUNDS)]
    ratios = sorted(with_it / without for with_it, without in times)
    seconds = [statistics.median(part) for part in zip(*times, strict=True)]
    found = seconds[1], seconds[0], statistics.median(ratios), ratios[0], ratios[-1]
    log.info("%s: step %.2f → %.2f CPU s (%.2f×, %.2f to %.2f)", title, *found)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="yolov5n-emo")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=4)
    args = parser.parse_args()
    measure(args.model, args.imgsz, args.batch)


if __name__ == "__main__":
    main()
