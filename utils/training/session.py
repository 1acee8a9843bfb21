"""Build everything that a training run needs from its configuration: data, model, loss, optimizer, loggers."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import nn

from models.detector import DetectionModel
from utils.config import check_config, option_values
from utils.configs.train import TrainConfig
from utils.data.image_weights import ImageWeights
from utils.data.loader import build_train_loader, build_val_loader, join_samples
from utils.data.mosaic.augment import AugmentConfig
from utils.data.order import Sampling
from utils.data.quad import JOINED
from utils.data.scan.one_class import as_one_class, with_one_class
from utils.data.scan.overlap import warn_of_overlap
from utils.data.scan.scan import scan_dataset
from utils.data.scan.scan_result import Problem, ScanResult
from utils.data.scan.spec import DataSpec, load_data_spec
from utils.device import autocast_dtype, select_device
from utils.errors import ConfigError
from utils.files import find_file
from utils.hyper import take
from utils.imgsz import fit_shape
from utils.loggers import build_loggers
from utils.losses import build_loss, find_loss
from utils.losses._contract import Loss
from utils.runs import ROOT, lock_folder, new_run_dir, write_text
from utils.text import counted
from utils.training.cores import CoreShare
from utils.training.ema import ModelEMA
from utils.training.fingerprint import fingerprint
from utils.training.freeze import freeze_rows, frozen_rows
from utils.training.hyp import load_hyp, with_label_smoothing
from utils.training.multi_scale import check_sizes
from utils.training.optim import Stepper, build_optimizer, parameter_groups
from utils.training.pace import Pace
from utils.training.recipe import apply_recipe
from utils.training.resume import LAST, Resumed, find_resumed, restore
from utils.training.run_state import RunState
from utils.training.schedule import EarlyStopping, Schedule, ScheduleHyp
from utils.training.settings import log_settings
from utils.training.start import ModelPlan, build_model, fit_head, plan_model
from utils.yaml_file import write_yaml

log = logging.getLogger(__name__)

HYPS = "data/hyps"


@dataclass(frozen=True)
class Session:
    """The parts of one training run, each ready to use."""

    cfg: TrainConfig
    hyp: dict[str, Any]
    spec: DataSpec
    run_dir: Path
    device: torch.device
    cores: CoreShare
    pace: Pace
    amp_dtype: torch.dtype | None
    shape: tuple[int, int]  # (height, width) that training images have, or with --rect fit into
    model: DetectionModel
    frozen: list[nn.Module]
    ema: ModelEMA
    loss: Loss
    loss_factor: int  # of training: samples in a picture
    stepper: Stepper
    schedule: Schedule
    stopper: EarlyStopping
    train_loader: Any
    val_loader: Any
    loggers: list[Any]
    train_scan: ScanResult
    image_weights: ImageWeights | None  # how often each training image is drawn; None: once an epoch
    state: RunState
    data_facts: dict[str, Any]  # what the data were, for a resume to compare
    lock: IO[str]  # of the run folder

    @property
    def imgsz(self) -> int:
        """Return the longer side."""
        return max(self.shape)

    @property
    def weights_dir(self) -> Path:
        return self.run_dir / "weights"

    @property
    def last(self) -> Path:
        """The file with the state of the run."""
        return self.weights_dir / LAST


@dataclass(frozen=True)
class _Inputs:
    """What was read and checked before anything is written."""

    cfg: TrainConfig
    hyp: dict[str, Any]
    spec: DataSpec
    device: torch.device
    scans: tuple[ScanResult, ScanResult]  # training, validation
    model: DetectionModel
    shape: tuple[int, int]  # height and width of the images
    data_facts: dict[str, Any]


def build_session(cfg: TrainConfig) -> Session:
    """Return the parts of a run, a new one or that of --resume. Nothing is written before every input is found good."""
    check_config(cfg)
    _check_together(cfg)
    resumed = find_resumed(cfg)
    inputs = _read_inputs(cfg, resumed)
    cfg, hyp, model, device, shape = inputs.cfg, inputs.hyp, inputs.model, inputs.device, inputs.shape
    train_scan, val_scan = inputs.scans
    batch_size = min(cfg.batch_size, len(train_scan))
    weights = ImageWeights(train_scan.labels, model.nc) if cfg.image_weights else None
    train_loader, val_loader = build_loaders(cfg, hyp, shape, model, inputs.scans, weights)
    frozen = _freeze(model, cfg.freeze)
    optimizer = _optimizer(model, cfg, hyp, batch_size)
    steps = len(train_loader)
    amp_dtype = autocast_dtype(device, cfg.amp)
    ema = ModelEMA(model)
    loss = build_loss(model.head, hyp, max(shape))
    run_dir = resumed.run_dir if resumed else new_run_dir(cfg.project, cfg.name, exist_ok=cfg.exist_ok)
    lock = lock_folder(run_dir)
    _write_inputs(run_dir, cfg, hyp, model, [*train_scan.problems, *val_scan.problems])
    first = resumed.state["epoch"] if resumed else 0
    session = Session(
        cfg=cfg,
        hyp=hyp,
        spec=inputs.spec,
        run_dir=run_dir,
        device=device,
        cores=CoreShare(device),
        pace=Pace(cfg.epochs, steps, len(val_scan) / batch_size if cfg.val else 0, first),
        amp_dtype=amp_dtype,
        shape=shape,
        model=model,
        frozen=frozen,
        ema=ema,
        loss=loss,
        loss_factor=JOINED if cfg.quad else 1,
        stepper=Stepper(model, optimizer, ema, scaled=amp_dtype == torch.float16),
        schedule=_schedule(optimizer, cfg, hyp, steps, batch_size),
        stopper=EarlyStopping(cfg.patience if cfg.val else 0),
        train_loader=train_loader,
        val_loader=val_loader,
        loggers=build_loggers(run_dir, resumed.rows() if resumed else ()),
        train_scan=train_scan,
        image_weights=weights,
        state=RunState(torch.zeros(len(loss.terms), device=device)),
        data_facts=inputs.data_facts,
        lock=lock,
    )
    if resumed:
        restore(session, resumed)
    return session


def _read_inputs(cfg: TrainConfig, resumed: Resumed | None) -> _Inputs:
    cfg = resumed.cfg if resumed else cfg
    device = select_device(cfg.device)
    seed_everything(cfg.seed, device)
    plan = None if resumed else plan_model(cfg)
    spec = load_data_spec(cfg.data)
    cfg, hyp = (cfg, resumed.hyp) if resumed else _settings(cfg, spec, plan)
    spec, train_scan, val_scan = _scan(spec, cfg.single_cls)
    facts = fingerprint(spec.names, {"train": train_scan, "val": val_scan})
    if resumed:
        resumed.check_data(facts)
        model = resumed.model()
    else:
        model = build_model(plan, spec.names, hyp.get("anchors"))
    model = model.to(device, memory_format=torch.channels_last)
    shape = image_shape(cfg, model)
    if cfg.multi_scale:
        check_sizes(model, max(shape))
    if cfg.autoanchor and not resumed:
        fit_head(model, train_scan, shape, hyp, cfg.seed)
    return _Inputs(cfg, hyp, spec, device, (train_scan, val_scan), model, shape, facts)


def _check_together(cfg: TrainConfig) -> None:
    """Raises: ConfigError for options that exclude each other."""
    if cfg.rect and cfg.image_weights:
        what = "--rect puts the same images together in every epoch, --image-weights draws others"
        raise ConfigError(what, "leave one of them out")
    if cfg.quad and cfg.batch_size % JOINED:
        fix = "give a multiple of 4, or leave --quad out"
        raise ConfigError(f"--quad joins {JOINED} images, and --batch-size {cfg.batch_size} is no multiple", fix)


def image_shape(cfg: TrainConfig, model: DetectionModel) -> tuple[int, int]:
    """Return (height, width) of the images. Raises: ConfigError where the model takes others only."""
    shape = fit_shape(cfg.imgsz, model.size_multiple)
    if model.fixed_size is None:
        return shape
    height, width = model.fixed_size
    if shape != (height, width):
        fix = f"--imgsz {height}" if height == width else f"--imgsz {height} {width}"
        raise ConfigError(f"the backbone takes images of {height}×{width} only, not {shape[0]}×{shape[1]}", fix)
    if flag := "--rect" if cfg.rect else "--quad" if cfg.quad else "":
        raise ConfigError(f"the backbone takes images of {height}×{width} only", f"train without {flag}")
    return shape


def _settings(cfg: TrainConfig, spec: DataSpec, plan: ModelPlan) -> tuple[TrainConfig, dict[str, Any]]:
    """Return options and hyper-parameters: the user's, else the model's recipe, else those that suit the data."""
    loss = find_loss(plan.head)
    file = find_file(cfg.hyp or spec.hyp or loss.file, HYPS, (".yaml", ".yml"))
    hyp = load_hyp(file, loss)
    cfg, hyp = apply_recipe(plan.recipe if cfg.recipe else {}, cfg, hyp, loss, plan.source)
    hyp = with_label_smoothing(hyp, cfg.label_smoothing)
    if hyp.get("anchors") and not cfg.autoanchor:
        raise ConfigError("the hyper-parameter 'anchors' needs AutoAnchor", "remove it or --noautoanchor")
    log_settings(cfg, hyp, load_hyp(ROOT / HYPS / loss.file, loss), Path(file).name)
    return cfg, hyp


def _scan(spec: DataSpec, single_cls: bool) -> tuple[DataSpec, ScanResult, ScanResult]:
    """Return the data set with the scans of its training and validation images, all classes as one if so wished."""
    train, val = (scan_dataset(split, spec.nc, fence=spec.fence) for split in (spec.train, spec.val))
    warn_of_overlap(train, val)
    return (with_one_class(spec), as_one_class(train), as_one_class(val)) if single_cls else (spec, train, val)


def seed_everything(seed: int, device: torch.device) -> None:
    """Seed PyTorch, and on a GPU choose reproducible kernels; the data have generators of their own."""
    torch.manual_seed(seed)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True


def build_loaders(
    cfg: TrainConfig,
    hyp: dict[str, Any],
    shape: tuple[int, int],
    model: DetectionModel,
    scans: tuple[ScanResult, ScanResult],
    weights: ImageWeights | None,
) -> tuple[Any, Any]:
    """Return the training and the validation loader; the latter takes twice the batch, as it keeps no gradients."""
    train_scan, val_scan = scans
    rect = model.fixed_size is None
    if not rect:
        log.info("the backbone takes images of %d×%d pixels only: validation uses that size", *shape)
    batch_size, stride = 2 * cfg.batch_size, model.size_multiple
    train = build_train_loader(
        train_scan,
        shape,
        cfg.batch_size,
        AugmentConfig.from_hyp(hyp, cfg.epochs),
        seed=cfg.seed,
        workers=cfg.workers,
        cache=None if cfg.cache == "val" else cfg.cache,
        sampling=Sampling(
            weights=weights,
            rect_stride=stride if cfg.rect else None,
        ),
    )
    if cfg.quad:
        log.info("--quad: pictures of %d×%d pixels, a quarter as many", *(2 * side for side in shape))
        train = join_samples(train, cfg.seed)
    cache = "ram" if cfg.cache == "val" else cfg.cache
    val = build_val_loader(val_scan, shape, batch_size, stride, workers=cfg.workers, rect=rect, cache=cache)
    return train, val


def _freeze(model: DetectionModel, choice: Sequence[str]) -> list[nn.Module]:
    """Freeze the rows that --freeze names, in place, and return them."""
    rows = frozen_rows(choice, len(model.model), len(model.backbone_rows))
    if rows:
        log.info("frozen: rows %s", ", ".join(f"{row} {model.rows[row].name}" for row in rows))
    return freeze_rows(model.model, rows)


def _optimizer(model: DetectionModel, cfg: TrainConfig, hyp: dict[str, Any], batch_size: int) -> torch.optim.Optimizer:
    values = take(ScheduleHyp, hyp)
    weight_decay = values.weight_decay * _decay_scale(batch_size, values.nominal_batch)
    backbone = model.backbone or model.model[: len(model.backbone_rows)]
    groups = parameter_groups(model, values.lr0, weight_decay, backbone, cfg.backbone_lr)
    return build_optimizer(cfg.optimizer, groups, values.momentum)


def _schedule(
    optimizer: torch.optim.Optimizer, cfg: TrainConfig, hyp: dict[str, Any], steps: int, batch_size: int
) -> Schedule:
    values = take(ScheduleHyp, hyp)
    return Schedule(optimizer, values, epochs=cfg.epochs, steps=steps, batch_size=batch_size, cosine=cfg.cos_lr)


def _decay_scale(batch_size: int, nominal: int) -> float:
    accumulate = max(1, round(nominal / batch_size))
    return batch_size * accumulate / nominal


def _write_inputs(
    run_dir: Path, cfg: TrainConfig, hyp: dict[str, Any], model: DetectionModel, problems: Sequence[Problem]
) -> None:
    """Note in the run folder what the run started from."""
    (run_dir / "weights").mkdir(exist_ok=True)
    write_yaml(run_dir / "opt.yaml", option_values(cfg))
    write_yaml(run_dir / "hyp.yaml", hyp)
    if model.load_report:
        write_yaml(run_dir / "backbone_weights.yaml", model.load_report.as_dict())
    if problems:
        write_text(run_dir / "skipped.txt", "".join(f"{problem}\n" for problem in problems))
        log.warning("%s of the data set: see %s", counted(len(problems), "problem"), run_dir / "skipped.txt")
