"""Build everything that a training run needs from its configuration: data, model, loss, optimizer, loggers."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import nn

from models.detector import DetectionModel
from utils.collective import first_goes_first, of_first
from utils.config import check_config, option_values
from utils.configs.train import TrainConfig
from utils.data.image_weights import ImageWeights
from utils.data.loader import BatchLoader, build_train_loader, build_val_loader, join_samples
from utils.data.mosaic.augment import AugmentConfig
from utils.data.order import Sampling
from utils.data.quad import JOINED
from utils.data.scan.scan_result import Problem, ScanResult
from utils.dist import rank, world
from utils.hyper import take
from utils.loggers import build_loggers
from utils.loggers._contract import Run
from utils.losses._contract import Loss
from utils.report.record import RunRecord
from utils.runs import lock_folder, make_writable, new_run_dir, write_text
from utils.text import counted
from utils.training.autobatch import with_batch_size
from utils.training.cores import CoreShare
from utils.training.ema import ModelEMA
from utils.training.freeze import Freezing
from utils.training.inputs import Inputs, read_inputs
from utils.training.network import build_network
from utils.training.optim import Stepper
from utils.training.pace import Pace
from utils.training.parts import build_parts, log_parts
from utils.training.record import start_record
from utils.training.resume import LAST, Resumed, find_resumed, restore
from utils.training.run_state import RunState
from utils.training.schedule import EarlyStopping, Schedule, ScheduleHyp
from utils.training.spent import Spent
from utils.training.time_budget import TimeBudget
from utils.yaml_file import write_yaml

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session(Inputs):
    """What a training run starts from, and the parts made of it, each ready to use."""

    run_dir: Path  # None of a dry run
    cores: CoreShare
    pace: Pace
    amp_dtype: torch.dtype | None
    network: nn.Module  # that trains it: itself, or what several processes share it by
    freezing: Freezing
    ema: ModelEMA
    loss: Loss
    loss_factor: int  # of training: samples in a picture
    stepper: Stepper
    schedule: Schedule
    stopper: EarlyStopping
    train_loader: Any
    val_loader: Any
    loggers: list[Any]
    record: RunRecord | None  # what the report says besides; as the loggers, of process 0 alone
    image_weights: ImageWeights | None  # how often each training image is drawn; None: once an epoch
    spent: Spent
    state: RunState
    budget: TimeBudget | None  # of --time
    lock: IO[str] | None  # of the run folder; process 0 has it, and writes

    @property
    def epochs(self) -> int:
        """Of the whole run; with --time, as many as are thought to fit."""
        return self.budget.epochs if self.budget else self.cfg.epochs

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


def build_session(cfg: TrainConfig, run_dir: Path | None = None) -> Session:
    """Return the parts of a run, a new one or that of --resume. Nothing is written before every input is found good.

    ``run_dir`` is the folder of a run that starts again.
    """
    check_config(cfg)
    resumed = find_resumed(cfg)
    with first_goes_first():
        inputs = with_batch_size(read_inputs(cfg, resumed))
    cfg, hyp, model, device, shape = inputs.cfg, inputs.hyp, inputs.model, inputs.device, inputs.shape
    train_scan, val_scan = inputs.scans
    batch_size = min(cfg.batch_size, len(train_scan))
    weights = ImageWeights(train_scan.labels, model.nc) if cfg.image_weights else None
    first = resumed.epoch if resumed else 0
    budget = TimeBudget(cfg.time, cfg.epochs, first) if cfg.time else None
    augment = AugmentConfig.from_hyp(hyp, budget.length if budget else cfg.epochs)
    train_loader, val_loader = build_loaders(cfg, augment, shape, model, inputs.scans, weights)
    parts = build_parts(inputs, batch_size)
    log_parts(inputs, parts)
    network = build_network(inputs, parts.amp_dtype)
    run_dir, lock = _open_run_dir(inputs, resumed.run_dir if resumed else run_dir)
    session = Session(
        **vars(inputs),
        run_dir=run_dir,
        cores=CoreShare(device),
        pace=Pace(cfg.epochs, len(train_loader), len(val_scan) / batch_size if cfg.val else 0, first, says=not budget),
        network=network,
        freezing=parts.freezing,
        amp_dtype=parts.amp_dtype,
        ema=parts.ema,
        loss=parts.loss,
        loss_factor=JOINED if cfg.quad else 1,
        stepper=Stepper(
            model, parts.optimizer, parts.ema, scaled=parts.amp_dtype == torch.float16, max_norm=cfg.clip_grad
        ),
        schedule=_schedule(parts.optimizer, cfg, hyp, len(train_loader), batch_size),
        stopper=EarlyStopping(cfg.patience if cfg.val else 0),
        train_loader=train_loader,
        val_loader=val_loader,
        loggers=_start_loggers(run_dir, inputs, resumed) if lock else [],
        record=start_record(run_dir, inputs, parts.amp_dtype, goes_on=resumed is not None) if lock else None,
        image_weights=weights,
        spent=Spent(),
        state=RunState(torch.zeros(len(parts.loss.terms), device=device)),
        budget=budget,
        lock=lock,
    )
    if resumed:
        restore(session, resumed)
    return session


def build_loaders(
    cfg: TrainConfig,
    augment: AugmentConfig,
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
    train = build_train(cfg, augment, shape, model, train_scan, weights)
    if cfg.quad:
        log.info("--quad: pictures of %d×%d pixels, a quarter as many", *(2 * side for side in shape))
    cache = "ram" if cfg.cache == "val" else cfg.cache
    val = build_val_loader(val_scan, shape, batch_size, stride, workers=cfg.workers, rect=rect, cache=cache)
    val.take_part(rank(), world())
    return train, val


def build_train(
    cfg: TrainConfig,
    augment: AugmentConfig,
    shape: tuple[int, int],
    model: DetectionModel,
    scan: ScanResult,
    weights: ImageWeights | None,
) -> BatchLoader:
    """Return the training loader, of pictures of ``shape`` (h, w) or, with --quad, twice as large."""
    train = build_train_loader(
        scan,
        shape,
        cfg.batch_size,
        augment,
        seed=cfg.seed,
        workers=cfg.workers,
        cache=None if cfg.cache == "val" else cfg.cache,
        sampling=Sampling(
            weights=weights,
            rect_stride=model.size_multiple if cfg.rect else None,
            part=(rank(), world()),
        ),
    )
    for sentence in train.batches.augment.idle(train.batches.polygons is not None):
        log.info("%s", sentence)
    return join_samples(train, cfg.seed) if cfg.quad else train


def _open_run_dir(inputs: Inputs, run_dir: Path | None) -> tuple[Path, IO[str] | None]:
    """Return the folder of the run, a new one or ``run_dir``; note in it what the run starts from.

    It is the same in all processes; the first has its lock. A dry run has neither.

    Raises: ConfigError where another process uses it.
    """
    if inputs.cfg.dry_run:
        return None, None
    if rank() > 0:
        return of_first(None), None
    cfg = inputs.cfg
    run_dir = run_dir or new_run_dir(cfg.project, cfg.name, exist_ok=cfg.exist_ok)
    lock = lock_folder(run_dir)
    problems = [problem for scan in inputs.scans for problem in scan.problems]
    _write_inputs(run_dir, cfg, inputs.hyp, inputs.model, problems)
    return of_first(run_dir), lock


def _start_loggers(run_dir: Path, inputs: Inputs, resumed: Resumed | None) -> list[Any]:
    settings = option_values(inputs.cfg) | {f"hyp/{key}": value for key, value in inputs.hyp.items()}
    run = Run(run_dir, settings, resumed.rows() if resumed else (), goes_on=resumed is not None)
    return build_loggers(run, inputs.cfg.logger)


def _schedule(
    optimizer: torch.optim.Optimizer, cfg: TrainConfig, hyp: dict[str, Any], steps: int, batch_size: int
) -> Schedule:
    values = take(ScheduleHyp, hyp)
    return Schedule(optimizer, values, epochs=cfg.epochs, steps=steps, batch_size=batch_size, cosine=cfg.cos_lr)


def _write_inputs(
    run_dir: Path, cfg: TrainConfig, hyp: dict[str, Any], model: DetectionModel, problems: Sequence[Problem]
) -> None:
    """Note in the run folder what the run started from."""
    for folder in (run_dir, run_dir / "weights"):
        make_writable(folder)
    write_yaml(run_dir / "opt.yaml", option_values(cfg))
    write_yaml(run_dir / "hyp.yaml", hyp)
    if model.load_report:
        write_yaml(run_dir / "backbone_weights.yaml", model.load_report.as_dict())
    if problems:
        write_text(run_dir / "skipped.txt", "".join(f"{problem}\n" for problem in problems))
        log.warning("%s of the data set: see %s", counted(len(problems), "problem"), run_dir / "skipped.txt")
