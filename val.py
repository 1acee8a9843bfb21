"""Measure a trained model on labelled images: precision, recall, mAP, speed.

python val.py                                                      # newest training run, on its own data
python val.py --weights yolov5s.pt --data data/coco128.yaml        # any checkpoint or .onnx on any data
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.command import run_command
from utils.config import make_config
from utils.configs.val import SWEEPS, ValConfig
from utils.errors import ConfigError
from utils.freed_memory import keep_freed_memory
from utils.runs import new_run_dir, newest_weights, write_text

if TYPE_CHECKING:
    import numpy as np

    from utils.evaluation.evaluate import Evaluation

log = logging.getLogger("val")

NO_LOSSES = (0.0, 0.0, 0.0)  # in the place of the three of a training, as YOLOv5's run returns them
MAX_LISTED = 50  # classes up to which each has its row even without --verbose


def main(cfg: ValConfig) -> "list[Evaluation]":
    """Measure, and return an evaluation of each model at each size; it is one, unless the task is speed or study."""
    if isinstance(cfg.imgsz, tuple) and cfg.task != "study":
        raise ConfigError(f"--imgsz {' '.join(map(str, cfg.imgsz))}: several", "give one, or --task study")
    if cfg.task not in SWEEPS:
        return [validate(cfg)]
    # here, because PyTorch takes seconds to import and --help should not
    from utils.evaluation.sweep import measure_speed, study

    return (measure_speed if cfg.task == "speed" else study)(cfg)


def validate(cfg: ValConfig) -> "Evaluation":
    """Measure one model on the images of a task, and write what the options ask for."""
    # here, for the same reason
    from utils.evaluation.errors_page import PAGE, ErrorsPage
    from utils.evaluation.inputs import build_observers, given_weights, settings_of
    from utils.evaluation.observers import Results
    from utils.evaluation.setup import measure, open_model
    from utils.evaluation.summary import report, summarize

    setup = open_model(cfg, cfg.weights or newest_weights())
    cfg, truth, results = setup.cfg, setup.truth(), Results()
    run_dir = new_run_dir(cfg.project, cfg.name, exist_ok=cfg.exist_ok)
    evaluation = measure(setup, [*build_observers(cfg, run_dir, setup.names, truth), results])

    every_class = cfg.verbose or 1 < len(setup.names) < MAX_LISTED
    if every_class:
        log.info(evaluation.class_rows())
    summary = summarize(evaluation, results.images, truth, resamples=cfg.ci, errors=cfg.errors)
    report(summary, run_dir, settings_of(cfg, setup.data), every_class)
    if summary.errors:
        title = f"{' + '.join(Path(path).name for path in given_weights(cfg))} on {setup.data.file.name}"
        html = ErrorsPage(setup.names, setup.data.pixels).render(title, results.images, summary.errors)
        write_text(run_dir / PAGE, html)
    log.info("speed: %s per image", evaluation.speed)
    log.info("results in %s", run_dir)
    return evaluation


def run(**options: Any) -> tuple[tuple[float, ...], "np.ndarray", tuple[float, float, float]]:
    """Validate from a program, ``run(weights="best.pt", data="my.yaml")``.

    Return (precision, recall, mAP@0.5, mAP@0.5:0.95, three losses, which are 0 here), the mAP@0.5:0.95 of each class,
    and the milliseconds per image of pre-processing, inference and suppression.
    """
    evaluation = main(make_config(ValConfig, options))[-1]
    speed = evaluation.speed
    maps = evaluation.metrics.maps(len(evaluation.names))
    return (*evaluation.figures(), *NO_LOSSES), maps, (speed.preprocess, speed.inference, speed.nms)


if __name__ == "__main__":
    keep_freed_memory()
    run_command(main, ValConfig)
