"""Several models, or one at several image sizes: the tasks speed and study.

What they measure is what YOLOv5's do: speed at the thresholds of detection, on squares, without pictures; study the
figures and times of each model at sizes from 256 to 1536, on the batches of a validation.
"""

import csv
import logging
from collections.abc import Sequence
from functools import partial
from io import StringIO
from pathlib import Path

from utils.configs.val import ValConfig
from utils.detection.names import output_stems, safe_name
from utils.evaluation.evaluate import Evaluation
from utils.evaluation.inputs import class_table_nms
from utils.evaluation.setup import Setup, measure, open_model
from utils.imgsz import rounded_up
from utils.nms import non_max_suppression
from utils.plots.study import plot_study
from utils.runs import new_run_dir, newest_weights, write_text
from utils.text import csv_cell

log = logging.getLogger(__name__)

STUDY_SIZES = tuple(range(256, 1536 + 1, 128))
SPEED_CONF = 0.25
HEADINGS = ("weights", "imgsz", "precision", "recall", "mAP50", "mAP50-95", "preprocess_ms", "inference_ms", "nms_ms")
NO_LOSSES = (0.0, 0.0, 0.0)


def measure_speed(cfg: ValConfig) -> list[Evaluation]:
    """Return one evaluation of each model at the thresholds of detect.py, and write speed.csv."""
    setups = _open_all(cfg)
    run_dir = new_run_dir(cfg.project, cfg.name, exist_ok=cfg.exist_ok)
    nms = partial(non_max_suppression, conf_thres=SPEED_CONF, multi_label=True, max_det=cfg.max_det)
    evaluations, rows = [], []
    for path, setup in setups.items():
        imgsz = _sizes(setup, (setup.cfg.imgsz,))[0]
        evaluation = measure(setup, nms=class_table_nms(nms, setup.classes), imgsz=imgsz)
        log.info("%s at %d: %s, %.1f ms in all per image", path, imgsz, evaluation.speed, evaluation.speed.total)
        evaluations.append(evaluation)
        rows.append(_row(path, imgsz, evaluation))
    write_text(run_dir / "speed.csv", _table(rows))
    log.info("results in %s", run_dir)
    return evaluations


def study(cfg: ValConfig) -> list[Evaluation]:
    """Return an evaluation of each model at each size; write study_DATA_WEIGHTS.txt of each, study.csv, study.png."""
    wanted = cfg.imgsz if isinstance(cfg.imgsz, tuple) else (cfg.imgsz,) if cfg.imgsz else STUDY_SIZES
    setups = _open_all(cfg)
    run_dir = new_run_dir(cfg.project, cfg.name, exist_ok=cfg.exist_ok)
    stems, evaluations, rows, lines = output_stems(setups), [], [], {}
    for path, setup in setups.items():
        points, texts = [], []
        for imgsz in _sizes(setup, wanted):
            evaluation = measure(setup, imgsz=imgsz)
            speed = evaluation.speed
            log.info("%s at %d: mAP50-95 %.3f, %s per image", path, imgsz, evaluation.metrics.map, speed)
            figures = (*evaluation.figures(), *NO_LOSSES, speed.preprocess, speed.inference, speed.nms)
            texts.append(" ".join(f"{value:10.4g}" for value in figures) + "\n")
            points.append((imgsz, speed.total, evaluation.metrics.map))
            evaluations.append(evaluation)
            rows.append(_row(path, imgsz, evaluation))
        lines[stems[path]] = points
        write_text(run_dir / f"study_{safe_name(setup.data.file.stem)}_{stems[path]}.txt", "".join(texts))
    write_text(run_dir / "study.csv", _table(rows))
    plot_study(lines, run_dir / "study.png", str(next(iter(setups.values())).device))
    log.info("results in %s", run_dir)
    return evaluations


def _open_all(cfg: ValConfig) -> dict[str, Setup]:
    """Return each model by its path, all of them opened before the first is measured: a typing error costs no hour."""
    given = cfg.weights if isinstance(cfg.weights, tuple) else (cfg.weights or newest_weights(),)
    return {str(Path(weights)): open_model(cfg, weights) for weights in given}


def _sizes(setup: Setup, wanted: Sequence[int]) -> list[int]:
    """Return the sizes that a model takes in place of those that are wanted, each once."""
    if setup.backend.fixed_size is not None:
        return [setup.backend.fixed_size[0]]
    return list(dict.fromkeys(rounded_up(size, setup.backend.stride) for size in wanted))


def _row(path: str, imgsz: int, evaluation: Evaluation) -> list[str]:
    speed = evaluation.speed
    figures = (*evaluation.figures(), speed.preprocess, speed.inference, speed.nms)
    return [csv_cell(path), str(imgsz), *(f"{value:.6g}" for value in figures)]


def _table(rows: Sequence[Sequence[str]]) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows([HEADINGS, *rows])
    return text.getvalue()
