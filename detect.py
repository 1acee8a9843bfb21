"""Detect objects in images, videos, cameras and streams, and save the drawn results.

python detect.py                                                   # newest training run, on data/images
python detect.py --weights yolov5s.pt --source photos/ --save-txt  # image, video, folder, glob or .txt list
python detect.py --weights yolov5s.pt --source 0 --view-img        # camera; rtsp://…, http://…, screen, cams.streams
"""

import logging
from pathlib import Path
from typing import Any

from utils.command import run_command
from utils.config import make_config
from utils.configs.detect import DetectConfig
from utils.detection.classes import parse_thresholds
from utils.freed_memory import keep_freed_memory
from utils.runs import ROOT, new_run_dir, newest_weights

log = logging.getLogger("detect")


def main(cfg: DetectConfig) -> Path:
    parse_thresholds(cfg.class_conf)  # a slip is told at once
    # here, because PyTorch takes seconds to import and --help should not
    from utils.backends.several import load_backends
    from utils.data.open_source import open_source
    from utils.detection.predict import build_predictor
    from utils.detection.run import detect_all, open_window
    from utils.device import select_device
    from utils.pixels import PixelFormat

    device = select_device(cfg.device)
    how = {"augment": cfg.augment, "half": cfg.half, "dnn": cfg.dnn, "data": cfg.data}
    backend = load_backends(cfg.weights or newest_weights(), device, cfg.backbone, cfg.layout or "", **how)
    pixels = PixelFormat(backend.channels, backend.bits)
    with open_source(cfg.source or ROOT / "data/images", cfg.vid_stride, pixels) as source:
        predict = build_predictor(cfg, backend, device)
        window = open_window(cfg, backend.names)
        # last: a failed start leaves nothing behind
        run_dir = new_run_dir(cfg.project, cfg.name, exist_ok=cfg.exist_ok)
        detect_all(cfg, source, predict, backend.names, run_dir, window)
    log.info("speed: %s per image", predict.speed())
    log.info("results in %s", run_dir)
    return run_dir


def run(**options: Any) -> Path:
    """Detect from a program, ``run(weights="best.pt", source="photos")``; return the folder of the results."""
    return main(make_config(DetectConfig, options))


if __name__ == "__main__":
    keep_freed_memory()
    run_command(main, DetectConfig)
