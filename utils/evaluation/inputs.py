"""What ``val.py`` needs besides the model: the data to evaluate it on, and who looks on."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from utils.checkpoint.facts import Backend, TrainingFacts
from utils.configs.val import SWEEPS, ValConfig
from utils.data.loader import BatchLoader, build_val_loader
from utils.data.scan.class_matching import loose
from utils.data.scan.class_selection import Selection, keep_classes, reordered, select_classes
from utils.data.scan.scan import scan_split
from utils.data.scan.scan_result import ScanResult
from utils.data.scan.spec import DataSpec
from utils.errors import ConfigError
from utils.evaluation.coco import CocoTruth, coco_truth
from utils.evaluation.evaluate import Observer, val_nms
from utils.evaluation.observers import BatchPictures, CocoJson, LabelFiles, MetricCharts
from utils.imgsz import fit_imgsz
from utils.predictions import Layout, Predictions
from utils.text import counted, safe_text

log = logging.getLogger(__name__)

# defaults of YOLOv5, for which its figures are known
LOW_CONFIDENCE, MANY_DETECTIONS = 0.001, 300


def agreed_names(model: Mapping[int, str], data: DataSpec, single_cls: bool) -> dict[int, str]:
    """Return the class names to report, and warn of classes that model and data name differently.

    Raises: ConfigError when they have different numbers of classes.
    """
    if single_cls:
        return {0: "item"}
    if len(model) != data.nc:
        raise ConfigError(
            f"{data.file}: {counted(data.nc, 'class')}, but the model finds {len(model)}: {', '.join(model.values())}",
            "give the --data that the model was trained on" + (", or --single-cls" if len(model) == 1 else ""),
        )
    named = [class_id for class_id, name in model.items() if name != str(class_id)]
    differing = [i for i in named if loose(model[i]) != loose(data.names[i])]
    if differing:
        first = differing[0]
        log.warning(
            "%s: %s called otherwise than in the weights file, the first is %s there and %s here; the figures are of "
            "use only if both mean the same, as classes are matched by their numbers",
            *(data.file, "1 class is" if len(differing) == 1 else f"{len(differing)} classes are"),
            *(model[first], data.names[first]),
        )
    return dict(data.names)


def check_channels(backend: Backend, data: DataSpec) -> None:
    """Raises: ConfigError when the model takes images of other channels than those of the data set."""
    if backend.channels != data.pixels.channels:
        raise ConfigError(
            f"{data.file}: images of {data.pixels.channels} channels, but the model takes {backend.channels}",
            "give the --data that the model was trained on, or correct channels in it",
        )


def chosen_classes(
    cfg: ValConfig, model: Mapping[int, str], trained: TrainingFacts, data: DataSpec
) -> Selection | None:
    """Return the classes of --classes, else those that the training chose where the model has others than the data.

    Raises: ConfigError for a class of --classes that the data set does not have.
    """
    if cfg.classes:
        return select_classes(cfg.classes, data.names)
    if not trained.classes or list(model.values()) == list(data.names.values()):
        return None
    try:
        selection = select_classes(trained.classes, data.names)
    except ConfigError:  # other data than those of the training
        return None
    log.info("classes: %s (those of the training)", " ".join(map(safe_text, trained.classes)))
    return selection


def kept_of_model(model: Mapping[int, str], data: DataSpec, selection: Selection | None) -> np.ndarray | None:
    """Return the class, or -1, that each class (nc,) of a model counts as; None where each counts as itself.

    That is so where the model has all classes of the data and a selection keeps some, or has them in another order.
    """
    kept = selection.names if selection else data.names
    if (table := reordered(model, kept)) is not None:
        return table
    if selection is None or list(model.values()) == list(kept.values()) or len(model) != data.nc:
        return None
    own = reordered(model, data.names)
    return selection.table(data.nc) if own is None else selection.table(data.nc)[own]


def agreed_classes(
    model: Mapping[int, str], trained: TrainingFacts, data: DataSpec, cfg: ValConfig | None = None
) -> tuple[Selection | None, np.ndarray | None, dict[int, str], bool]:
    """Return which classes of the data count, as what those of the model do, their names, and whether all are one.

    ``cfg`` says the latter; without it all are one for a model of one class on data of several, as --single-cls trains.
    Raises: ConfigError where model and data have different classes.
    """
    selection = chosen_classes(cfg or ValConfig(), model, trained, data)
    single = cfg.single_cls if cfg else len(model) == 1 < data.nc and selection is None
    classes = kept_of_model(model, data, selection)
    chosen = replace(data, names=selection.names) if selection else data
    return selection, classes, agreed_names(chosen.names if classes is not None else model, chosen, single), single


def split_of(cfg: ValConfig) -> str:
    """Return whose images are measured: those of ``val`` for speed and study, as in YOLOv5."""
    return "val" if cfg.task in SWEEPS else cfg.task


def scan_to_measure(cfg: ValConfig, data: DataSpec, selection: Selection | None = None) -> ScanResult:
    """Return the images and labels of the split to evaluate. Raises: as ``scan_dataset``, as where none has a label."""
    scan = scan_split(data, getattr(data, split_of(cfg)))
    return keep_classes(scan, selection, data.nc) if selection else scan


def build_loader(cfg: ValConfig, data: DataSpec, backend: Backend, selection: Selection | None = None) -> BatchLoader:
    """Return the batches of the split to evaluate; an exported graph of fixed size gets squares, and so does speed."""
    scan = scan_to_measure(cfg, data, selection)
    if backend.fixed_size is None:
        longer = max(backend.trained.default_imgsz()) if cfg.imgsz is None else cfg.imgsz
        imgsz = fit_imgsz(longer, backend.stride)
        square = {"rect": False} if cfg.task == "speed" else {}
        return build_val_loader(scan, imgsz, cfg.batch_size, backend.stride, workers=cfg.workers, **square)
    height, width = backend.fixed_size
    if height != width:
        raise ConfigError(
            f"{' '.join(given_weights(cfg))}: takes images of {width}×{height} pixels only, and val.py makes squares",
            "export a square size, or with export.py --dynamic",
        )
    if cfg.imgsz not in (None, height):
        log.info("the model takes images of %d×%d pixels only", width, height)
    return build_val_loader(scan, height, cfg.batch_size, backend.stride, workers=cfg.workers, rect=False)


def given_weights(cfg: ValConfig) -> tuple[str, ...]:
    """Return the files of ``--weights``, none for the newest run's."""
    given = (cfg.weights,) if isinstance(cfg.weights, str) else cfg.weights
    return tuple(filter(None, given))


def truth_for(cfg: ValConfig, data: DataSpec, selected: bool = False) -> CocoTruth | None:
    """Return the annotations by which COCO's figures are counted where they are a file that is there.

    ``selected`` tells that classes of the data were left out.
    """
    truth = None if cfg.single_cls else coco_truth(getattr(data, split_of(cfg)), data, selected)
    if truth and not truth.file.is_file():
        log.warning("%s does not exist; COCO's figures go by the label files", truth.file)
    return truth


def saves_json(cfg: ValConfig) -> bool:
    """Return whether the detections are saved as JSON; those on COCO are without being asked for, as in YOLOv5."""
    return cfg.save_json or cfg.data.endswith("coco.yaml")


def settings_of(cfg: ValConfig, data: DataSpec) -> dict[str, Any]:
    """Return what the figures of an evaluation depend on, for people who read them later."""
    keys = ("weights", "task", "imgsz", "batch_size", "conf_thres", "iou_thres", "max_det", "single_cls", "classes")
    return {"data": str(data.file)} | {key: getattr(cfg, key) for key in keys}


def build_observers(
    cfg: ValConfig, run_dir: Path, names: Mapping[int, str], truth: CocoTruth | None = None
) -> list[Observer]:
    """Return those who write what the options ask for."""
    observers: list[Observer] = []
    if cfg.plots:
        observers += [BatchPictures(run_dir, names), MetricCharts(run_dir, names)]
    if cfg.save_txt or cfg.save_hybrid:
        hybrid_iou = cfg.iou_thres if cfg.save_hybrid else None
        observers.append(LabelFiles(run_dir / "labels", confidence=cfg.save_conf, hybrid_iou=hybrid_iou))
    if saves_json(cfg):
        observers.append(CocoJson(run_dir / f"{Path(given_weights(cfg)[0]).stem}_predictions.json", truth))
    return observers


def _cut_off(cfg: ValConfig) -> str:
    """Return the option by which the curves end early, if there is one."""
    if cfg.conf_thres > LOW_CONFIDENCE:
        return f"--conf-thres {cfg.conf_thres:g}"
    return f"--max-det {cfg.max_det}" if cfg.max_det < MANY_DETECTIONS else ""


def build_nms(cfg: ValConfig, layout: Layout, classes: np.ndarray | None = None) -> Callable[..., list[Tensor]]:
    """Return the suppression that the options ask for, of predictions in a ``layout``.

    ``classes`` are what those of the model count as, see ``kept_of_model``.
    """
    if layout.is_suppressed:
        log.warning(
            "the file suppresses by the thresholds of its export, and what is below them is missing in mAP; the file "
            "without export.py --nms has it"
        )
    if option := _cut_off(cfg):
        log.warning(
            "%s can leave out what the curves need: beyond the recall that is reached, YOLOv5's mAP draws a straight "
            "line to recall 1, which makes 0.55 of one object found in ten; COCO's rule, given below, makes 0.11 of it",
            option,
        )
    nms = partial(val_nms, conf_thres=cfg.conf_thres, iou_thres=cfg.iou_thres, max_det=cfg.max_det)
    return class_table_nms(nms, classes)


def class_table_nms(nms: Callable[..., list[Tensor]], classes: np.ndarray | None) -> Callable[..., list[Tensor]]:
    """Return a suppression whose classes are what those of the model count as; -1 is left out, None changes nothing."""
    if classes is None:
        return nms
    table, kept = torch.from_numpy(classes), np.flatnonzero(classes >= 0).tolist()

    def nms_of_kept(predictions: Predictions, **options: Any) -> list[Tensor]:
        found = nms(predictions, classes=kept, **options)
        for rows in found:
            rows[:, 5] = table[rows[:, 5].long().cpu()].to(rows)
        return found

    return nms_of_kept
