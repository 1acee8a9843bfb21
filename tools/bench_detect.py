"""Compare detect.py on a folder of JPEGs, drawing and writing included, with the bare fused model on one image.

OMP_NUM_THREADS=1 python tools/bench_detect.py          # ratio of images per second, 1 is the model alone
python tools/bench_detect.py --images 5000 --imgsz 128  # and by how much the memory of the process grows
"""

import argparse
import gc
import logging
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import psutil

from utils.command import let_waiting_threads_sleep
from utils.freed_memory import keep_freed_memory

let_waiting_threads_sleep()  # as the command does, before PyTorch is imported
keep_freed_memory()

import torch  # noqa: E402

from models.detector import DetectionModel  # noqa: E402
from utils.backends.pt import PyTorchBackend  # noqa: E402
from utils.checkpoint.facts import TrainingFacts  # noqa: E402
from utils.configs.detect import DetectConfig  # noqa: E402
from utils.data.image.read import read_image  # noqa: E402
from utils.data.open_source import open_source  # noqa: E402
from utils.detection.predict import build_predictor  # noqa: E402
from utils.detection.run import detect_all  # noqa: E402

log = logging.getLogger(__name__)

ROUNDS = 5  # of both in turns, so that other work on the machine meets both
WARM_UP = 100  # images, after which memory should no longer grow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cfg", default="models/yolov5n.yaml")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--candidates", type=int, default=300, help="boxes over the threshold, of which ten are kept")
    args = parser.parse_args()
    backend = make_backend(args.cfg)
    with tempfile.TemporaryDirectory() as folder:
        pictures = make_pictures(Path(folder, "pictures"), args.images)
        threshold = threshold_for(backend, pictures[0], args.imgsz, args.candidates)
        cfg = DetectConfig(imgsz=(args.imgsz,), conf_thres=threshold, max_det=10, save_txt=True)
        times, growth = measure(backend, cfg, pictures, Path(folder, "run"))
    about = args.cfg, args.images, args.candidates, os.getloadavg()[0]
    log.info("%s, %d images of 640×480, %d candidates each, load %.1f", *about)
    for what, (model_ms, detect_ms) in zip(("", " of all cores together"), times.tolist(), strict=True):
        ratio = model_ms / detect_ms
        log.info("model alone %.2f ms, detect %.2f ms per image%s: ratio %.3f", model_ms, detect_ms, what, ratio)
    log.info("memory grew by %.1f MB after the first %d images", growth / 1e6, min(WARM_UP, args.images))


def make_backend(cfg: str) -> PyTorchBackend:
    torch.manual_seed(0)
    model = DetectionModel(cfg)
    for layer in model.head.m:
        layer.bias.data.view(model.head.na, -1)[:, 4:] = 2.0
    return PyTorchBackend(model.eval(), TrainingFacts(None, None), torch.device("cpu"))


def threshold_for(backend: PyTorchBackend, picture: Path, imgsz: int, candidates: int) -> float:
    """Return the confidence that so many boxes of a picture reach."""
    height = imgsz * 3 // 4
    image = torch.from_numpy(cv2.resize(read_image(picture), (imgsz, height)))
    output = backend(image.permute(2, 0, 1)[None].float() / 255).output[0]  # (N, 5 + nc)
    scores = output[:, 4] * output[:, 5:].amax(dim=1)
    return float(scores.topk(candidates).values[-1])


def make_pictures(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    picture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
    data = cv2.imencode(".jpg", picture)[1].tobytes()
    paths = [folder / f"{index:05}.jpg" for index in range(count)]
    for path in paths:
        path.write_bytes(data)
    return paths


def measure(backend: PyTorchBackend, cfg: DetectConfig, pictures: list[Path], run_dir: Path) -> tuple[np.ndarray, int]:
    """Return milliseconds for an image, [[wall of the model, of detection], [the same of CPU]], and bytes of growth."""
    run_dir.mkdir()
    height = cfg.imgsz[0] * 3 // 4
    images = torch.rand(1, 3, height, cfg.imgsz[0]).contiguous(memory_format=torch.channels_last)
    detect(backend, cfg, pictures[:WARM_UP], run_dir)
    gc.collect()
    memory = psutil.Process().memory_info().rss
    spent = np.zeros((2, 2))
    for part in np.array_split(np.array(pictures, dtype=object), ROUNDS):
        marks = [clocks()]
        for _ in part:
            backend(images)
        marks.append(clocks())
        detect(backend, cfg, list(part), run_dir)
        spent += np.diff([*marks, clocks()], axis=0).T
    gc.collect()
    growth = psutil.Process().memory_info().rss - memory
    return 1e3 * spent / len(pictures), growth


def clocks() -> tuple[float, float]:
    """Return seconds of the wall and of the CPU, of all threads."""
    return time.perf_counter(), time.process_time()


def detect(backend: PyTorchBackend, cfg: DetectConfig, pictures: list[Path], run_dir: Path) -> None:
    """Do what detect.py does once the model is loaded."""
    listed = run_dir.with_name("list.txt")
    listed.write_text("\n".join(map(str, pictures)))
    predict = build_predictor(cfg, backend, torch.device("cpu"))
    with open_source(listed) as source:
        detect_all(cfg, source, predict, backend.names, run_dir)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("detect").setLevel(logging.WARNING)
    main()
