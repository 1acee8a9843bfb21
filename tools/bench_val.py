"""Compare val.py with the bare forward passes of the same batches, on the embedded data set.

    python -m tools.bench_val [--weights best.pt] [--imgsz 640] [--rounds 3]

Everything that val.py does once PyTorch is imported counts: opening the model, reading images, suppression, both sets
of figures, tables; not the pictures, which are asked for (--noplots). Without --weights the model is a yolov5n that has
learnt nothing, which keeps 300 boxes of each image: the most that suppression and figures can be given. Both ways are
timed in turn; the ratios are of the medians, of the wall time and of the CPU time, which other programs disturb less.
No process of its own loads images, so that reading them counts in both.
"""

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from utils.command import let_waiting_threads_sleep
from utils.freed_memory import keep_freed_memory

let_waiting_threads_sleep()  # as the command does, before PyTorch is imported
keep_freed_memory()

import torch  # noqa: E402

import val  # noqa: E402
from models.detector import DetectionModel  # noqa: E402
from utils.checkpoint.native import save_checkpoint  # noqa: E402
from utils.configs.val import ValConfig  # noqa: E402
from utils.device import to_float_images  # noqa: E402
from utils.evaluation.inputs import build_loader  # noqa: E402
from utils.evaluation.setup import Setup, open_model  # noqa: E402

log = logging.getLogger(__name__)


def fresh_weights(folder: Path, imgsz: int) -> Path:
    """Write a checkpoint of a yolov5n for the embedded data set, and return its path."""
    torch.manual_seed(0)
    model = DetectionModel("yolov5n", nc=6, load_backbone=False)
    model.names = dict(enumerate(("disc", "square", "triangle", "star", "ring", "cross")))
    path = folder / "fresh.pt"
    save_checkpoint(path, model, epoch=0, fitness=0.0, training={"opt": {}}, imgsz=imgsz)
    return path


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds of the wall and of the CPU."""
    start = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start[0], time.process_time() - start[1]


@torch.no_grad()
def forward_only(setup: Setup, batches: list[torch.Tensor]) -> None:
    """Run the model on batches that are in memory."""
    for images in batches:
        setup.backend(images)


def compare(cfg: ValConfig, rounds: int) -> tuple[list[float], list[float]]:
    """Return the median seconds, of wall and CPU, of val.py and of the forward passes of its batches."""
    setup = open_model(cfg, cfg.weights)
    loader = build_loader(setup.cfg, setup.data, setup.backend, setup.selection)
    batches = [to_float_images(batch.images, setup.device) for batch in loader]
    forward_only(setup, batches)
    whole, bare = [], []
    for _ in range(rounds):
        whole.append(timed(lambda: val.main(cfg)))
        bare.append(timed(lambda: forward_only(setup, batches)))
    return [statistics.median(column) for column in zip(*whole, strict=True)], [
        statistics.median(column) for column in zip(*bare, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="", help="a checkpoint of the embedded data set's classes")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        weights = args.weights or str(fresh_weights(Path(folder), args.imgsz))
        options = {"imgsz": args.imgsz, "plots": False, "project": folder, "workers": 0}
        whole, bare = compare(ValConfig(weights=weights, data="data/shapes.yaml", **options), args.rounds)
    for what, ours, least in zip(("wall", "CPU"), whole, bare, strict=True):
        log.info("%s: val.py %.2f s, its forward passes alone %.2f s: ratio %.2f", what, ours, least, ours / least)


if __name__ == "__main__":
    main()
