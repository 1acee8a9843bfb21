"""What ``val.py`` needs besides the model: the data to evaluate it on, and who looks on."""

import logging
from collections.abc import Mapping
from pathlib import Path

from utils.checkpoint.load import load_checkpoint
from utils.data.loader import BatchLoader, build_val_loader
from utils.data.scan import scan_dataset
from utils.data.spec import DataSpec
from utils.engine.coco import is_coco
from utils.engine.configs_infer import ValConfig
from utils.engine.evaluate import Observer
from utils.engine.imgsz import fit_imgsz
from utils.engine.observers import BatchPictures, CocoJson, LabelFiles, MetricCharts
from utils.engine.predict import Backend
from utils.errors import ConfigError

log = logging.getLogger(__name__)

DEFAULT_DATA = "data/shapes.yaml"


def training_data(weights: Path) -> str:
    """Return the data-set YAML that a checkpoint names as that of its training, else the embedded one; log which."""
    training = load_checkpoint(weights).facts.get("training") if weights.suffix == ".pt" else None
    options = (training or {}).get("opt")
    data = options.get("data") if isinstance(options, dict) else None
    log.info("data: %s (%s)", data or DEFAULT_DATA, "that of the training" if data else "the default")
    return data or DEFAULT_DATA


def agreed_names(model: Mapping[int, str], data: DataSpec, single_cls: bool) -> dict[int, str]:
    """Return the class names to report. Raises: ConfigError when model and data have different numbers of classes."""
    if single_cls:
        return {0: "item"}
    if len(model) != data.nc:
        raise ConfigError(
            f"{data.file}: {data.nc} classes, but the model finds {len(model)}: {', '.join(model.values())}",
            "give the --data that the model was trained on",
        )
    return dict(data.names)


def build_loader(cfg: ValConfig, data: DataSpec, backend: Backend) -> BatchLoader:
    """Return the batches of the split to evaluate; an exported graph of fixed size gets squares."""
    scan = scan_dataset(getattr(data, cfg.task), data.nc)
    if backend.fixed_size is None:
        imgsz = fit_imgsz(cfg.imgsz, backend.stride)
        return build_val_loader(scan, imgsz, cfg.batch_size, backend.stride, workers=cfg.workers)
    height, width = backend.fixed_size
    if height != width:
        raise ConfigError(
            f"{cfg.weights}: takes images of {width}×{height} pixels only, and val.py makes squares",
            "export a square size, or with --dynamic",
        )
    if height != cfg.imgsz:
        log.info("the exported graph takes images of %d×%d pixels only", width, height)
    return build_val_loader(scan, height, cfg.batch_size, backend.stride, workers=cfg.workers, rect=False)


def build_observers(cfg: ValConfig, run_dir: Path, names: Mapping[int, str], data: DataSpec) -> list[Observer]:
    """Return those who write what the options ask for."""
    observers: list[Observer] = []
    if cfg.plots:
        observers += [BatchPictures(run_dir, names), MetricCharts(run_dir, names)]
    if cfg.save_txt:
        observers.append(LabelFiles(run_dir / "labels", confidence=cfg.save_conf))
    if cfg.save_json:
        path = run_dir / f"{Path(cfg.weights or 'best.pt').stem}_predictions.json"
        observers.append(CocoJson(path, coco=data.root if is_coco(getattr(data, cfg.task)) else None))
    return observers
