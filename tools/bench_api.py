"""Time a program from its start to its first result: the Python API against bare PyTorch, on the CPU.

    python -m tools.bench_api [ROUNDS]

Both programs load the same yolov5n from disk, fuse it and run one picture of the same size; the API also decodes the
picture, letterboxes it and suppresses 300 candidates. They run in turns, and the shortest time of each counts.
"""

import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from models.detector import DetectionModel
from utils.checkpoint.native import save_checkpoint
from utils.runs import ROOT

log = logging.getLogger(__name__)

ROUNDS = 10
BAR = 1.2  # largest acceptable ratio
PICTURE = ROOT / "data/images/shapes-1.jpg"

API = """
import sys
from utils import load

results = load(sys.argv[1], device="cpu")(sys.argv[2])
assert len(results.pred[0])
print(*results.s, flush=True)
"""

REFERENCE = """
import sys
import torch
from models.detector import DetectionModel

content = torch.load(sys.argv[1], weights_only=True)
model = DetectionModel(content["yaml"])
model.load_state_dict(content["state"])
model = model.eval().fuse().to(memory_format=torch.channels_last)
images = torch.zeros([int(side) for side in sys.argv[2:]]).to(memory_format=torch.channels_last)
with torch.inference_mode():
    model(images)
print(*images.shape, flush=True)
"""

TORCH = "import torch; print(flush=True)"


def save_model(path: Path) -> None:
    """Write a yolov5n of random weights, one of whose anchors sees an object in each of its 300 cells."""
    torch.manual_seed(0)
    model = DetectionModel(ROOT / "models/yolov5n.yaml")
    coarsest = model.head.m[-1]
    coarsest.bias.data.view(model.head.na, -1)[0, 4:] = 2.0
    save_checkpoint(path, model, epoch=0, fitness=0.0, training={}, imgsz=640)


def first_line(code: str, *arguments: str | Path) -> tuple[float, str]:
    """Return the seconds from the start of a Python program to its first line, and that line."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as program:  # noqa: S603 - ours
        line = program.stdout.readline()
        seconds = time.perf_counter() - start
    if program.returncode:
        raise SystemExit(program.returncode)  # it has said why
    return seconds, line


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "best.pt")
        save_model(weights)
        shape = first_line(API, weights, PICTURE)[1].split()  # this round fills the caches of the disk
        programs = {
            "import torch": (TORCH,),
            "PyTorch": (REFERENCE, weights, *shape),
            "from utils import load": (API, weights, PICTURE),
        }
        times = {name: [] for name in programs}
        for _ in range(rounds):
            for name, program in programs.items():
                times[name].append(first_line(*program)[0])
    alone, reference, api = (min(seconds) for seconds in times.values())
    log.info("import torch alone %.2f s; images %s, best of %d rounds", alone, "×".join(shape), rounds)
    log.info("to the first result: PyTorch %.2f s, API %.2f s, %.2f×, bar %.1f×", reference, api, api / reference, BAR)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
