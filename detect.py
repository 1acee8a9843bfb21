"""Detect objects in images and videos, and save the drawn results.

python detect.py                                                   # newest training run, on data/images
python detect.py --weights yolov5s.pt --source photos/ --save-txt  # image, video, folder, glob or .txt list
"""

import logging
from pathlib import Path
from typing import Any

from utils.command import run_command
from utils.config import make_config
from utils.configs.detect import DetectConfig
from utils.runs import ROOT, new_run_dir, newest_weights

log = logging.getLogger("detect")


def main(cfg: DetectConfig) -> Path:
    # here, because PyTorch takes seconds to import and --help should not
    from utils.backends.choose import load_backend
    from utils.data.sources import ImageSource
    from utils.detection.names import frame_label
    from utils.detection.predict import build_predictor
    from utils.detection.writers import open_writers
    from utils.device import select_device
    from utils.pixels import PixelFormat
    from utils.text import counted, distinct_names

    device = select_device(cfg.device)
    weights = cfg.weights or newest_weights()
    backend = load_backend(weights, device, cfg.backbone, cfg.layout or "")
    pixels = PixelFormat(backend.channels, backend.bits)
    source = ImageSource(cfg.source or ROOT / "data/images", vid_stride=cfg.vid_stride, pixels=pixels)
    predict = build_predictor(cfg, backend, device)
    run_dir = new_run_dir(cfg.project, cfg.name, exist_ok=cfg.exist_ok)

    names = distinct_names(backend.names)
    with open_writers(cfg, run_dir, names) as writers:
        for frame in source:
            detections = predict(frame.image)
            log.info("%s: %s, %.1f ms", frame_label(frame), detections.summary(names), detections.speed.total)
            for writer in writers:
                writer.write(frame, detections)

        if source.skipped:
            log.warning("%d of %s skipped, for the reasons above", len(source.skipped), counted(len(source), "file"))
        log.info("speed: %s per image", predict.speed())
        log.info("results in %s", run_dir)
    return run_dir


def run(**options: Any) -> Path:
    """Detect from a program, ``run(weights="best.pt", source="photos")``; return the folder of the results."""
    return main(make_config(DetectConfig, options))


if __name__ == "__main__":
    run_command(main, DetectConfig)
