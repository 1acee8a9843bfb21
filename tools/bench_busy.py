"""Two trainings at once on this machine against one after the other, and one alone with PyTorch's own wait policy.

python -m tools.bench_busy [EPOCHS]     # yolov5n-emo at 192 px; let nothing else run
"""

import logging
import os
import subprocess
import sys
import tempfile
import time

from utils.data.shapes.dataset import draw_shapes_dataset
from utils.runs import ROOT

log = logging.getLogger(__name__)

EPOCHS = 4
BAR = 1.15  # largest acceptable ratio of the total times
COMMAND = "train.py --cfg models/yolov5n-emo.yaml --imgsz 192 --batch-size 8 --noval --nosave --noplots"
SPINNING = {"GOMP_SPINCOUNT": "30000000000"}  # what libgomp does by itself where it has a core for each thread


def seconds(count: int, epochs: int, environment: dict[str, str]) -> float:
    """Return the wall time of ``count`` trainings that start together."""
    with tempfile.TemporaryDirectory() as project:
        command = [sys.executable, *COMMAND.split(), "--epochs", str(epochs), "--project", project]
        started = time.perf_counter()
        programs = [
            subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.DEVNULL)  # noqa: S603 - ours
            for _ in range(count)
        ]
        codes = [program.wait() for program in programs]
        if any(codes):
            sys.exit("a training failed")
        return time.perf_counter() - started


def main(epochs: int) -> None:
    draw_shapes_dataset(ROOT / "datasets/shapes")
    spinning, alone = seconds(1, epochs, SPINNING), seconds(1, epochs, {})
    log.info("alone: %.1f s, with threads that spin %.1f s, ratio %.2f", alone, spinning, alone / spinning)
    together = seconds(2, epochs, {})
    log.info("two at once: %.1f s, %.2f × one after the other, bar %.2f×", together, together / (2 * alone), BAR)
    together = seconds(2, epochs, SPINNING)
    log.info("two at once, spinning at first: %.1f s, %.2f ×", together, together / (2 * alone))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(int(sys.argv[1]) if len(sys.argv) > 1 else EPOCHS)
