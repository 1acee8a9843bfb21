"""Build everything that a training run needs from its configuration: data, model, loss, optimizer, loggers."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.yolo import DetectionModel
from utils.checkpoint.load import load_checkpoint, load_state, transfer
from utils.data.augment import AugmentConfig
from utils.data.labels import ScanResult
from utils.data.loader import build_train_loader, build_val_loader
from utils.data.scan import scan_dataset
from utils.data.spec import DataSpec, load_data_spec
from utils.device import autocast_dtype, select_device
from utils.engine.autoanchor import box_sizes, check_anchors
from utils.engine.configs import TrainConfig
from utils.engine.ema import ModelEMA
from utils.engine.freeze import freeze_rows, frozen_rows
from utils.engine.hyp import load_hyp
from utils.engine.imgsz import fit_imgsz
from utils.engine.optim import Stepper, build_optimizer, parameter_groups
from utils.engine.schedule import EarlyStopping, Schedule
from utils.errors import CheckpointError, ConfigError
from utils.files import find_file
from utils.loggers import build_loggers
from utils.losses.detection import DetectionLoss, LossGains
from utils.runs import new_run_dir, write_text
from utils.yaml_file import write_yaml

log = logging.getLogger(__name__)

DEFAULT_CFG = "models/yolov5s-emo.yaml"
DEFAULT_HYP = "data/hyps/hyp.scratch-low.yaml"


@dataclass(frozen=True)
class Session:
    """The parts of one training run, each ready to use."""

    cfg: TrainConfig
    hyp: dict[str, Any]
    spec: DataSpec
    run_dir: Path
    device: torch.device
    amp_dtype: torch.dtype | None
    imgsz: int
    model: DetectionModel
    frozen: list[nn.Module]
    ema: ModelEMA
    loss: DetectionLoss
    stepper: Stepper
    schedule: Schedule
    stopper: EarlyStopping
    train_loader: Any
    val_loader: Any
    loggers: list[Any]
    train_scan: ScanResult

    @property
    def weights_dir(self) -> Path:
        return self.run_dir / "weights"


def build_session(cfg: TrainConfig) -> Session:
    """Return the parts of a run. Its folder is made once every input has been found good."""
    _check(cfg)
    device = select_device(cfg.device)
    seed_everything(cfg.seed, device)
    spec = load_data_spec(cfg.data)
    hyp = load_hyp(find_file(cfg.hyp or spec.hyp or DEFAULT_HYP, "data/hyps", (".yaml", ".yml")))
    train_scan, val_scan = scan_dataset(spec.train, spec.nc), scan_dataset(spec.val, spec.nc)
    model = build_model(cfg, spec, hyp).to(device, memory_format=torch.channels_last)
    imgsz = fit_imgsz(cfg.imgsz, model.size_multiple)
    fit_model_anchors(model, train_scan, cfg, hyp, imgsz)

    batch_size = min(cfg.batch_size, len(train_scan))
    train_loader, val_loader = build_loaders(cfg, hyp, imgsz, model.size_multiple, (train_scan, val_scan))
    weight_decay = hyp["weight_decay"] * _decay_scale(batch_size, hyp["nominal_batch"])
    frozen = freeze_rows(model.model, frozen_rows(cfg.freeze, len(model.model), len(model.yaml["backbone"])))
    groups = parameter_groups(model, hyp["lr0"], weight_decay, model.backbone, cfg.backbone_lr)
    optimizer = build_optimizer(cfg.optimizer, groups, hyp["momentum"])
    amp_dtype = autocast_dtype(device, cfg.amp)
    ema = ModelEMA(model)
    run_dir = new_run_dir(cfg.project, cfg.name, exist_ok=cfg.exist_ok)
    _write_inputs(run_dir, cfg, hyp, train_scan, val_scan)
    return Session(
        cfg=cfg,
        hyp=hyp,
        spec=spec,
        run_dir=run_dir,
        device=device,
        amp_dtype=amp_dtype,
        imgsz=imgsz,
        model=model,
        frozen=frozen,
        ema=ema,
        loss=build_loss(model, hyp, imgsz).to(device),
        stepper=Stepper(model, optimizer, ema, scaled=amp_dtype == torch.float16),
        schedule=Schedule(
            optimizer, hyp, epochs=cfg.epochs, steps=len(train_loader), batch_size=batch_size, cosine=cfg.cos_lr
        ),
        stopper=EarlyStopping(cfg.patience if cfg.val else 0),
        train_loader=train_loader,
        val_loader=val_loader,
        loggers=build_loggers(run_dir),
        train_scan=train_scan,
    )


def _check(cfg: TrainConfig) -> None:
    for flag, value, low in (
        ("--epochs", cfg.epochs, 1),
        ("--batch-size", cfg.batch_size, 1),
        ("--imgsz", cfg.imgsz, 32),
        ("--workers", cfg.workers, 0),
        ("--patience", cfg.patience, 0),
    ):
        if value < low:
            raise ConfigError(f"{flag} {value} is too small", f"give at least {low}")


def seed_everything(seed: int, device: torch.device) -> None:
    """Seed PyTorch, and on a GPU choose reproducible kernels; the data have generators of their own."""
    torch.manual_seed(seed)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True


def build_model(cfg: TrainConfig, spec: DataSpec, hyp: dict[str, Any]) -> DetectionModel:
    """Return the model of --cfg, else of the checkpoint, else the default, with the weights asked for."""
    state, source = None, cfg.cfg or DEFAULT_CFG
    if cfg.weights and cfg.cfg:
        state = load_state(cfg.weights)
    elif cfg.weights:
        checkpoint = load_checkpoint(cfg.weights, use_ema=False)
        state, source = checkpoint.state, checkpoint.yaml
    model = DetectionModel(source, nc=spec.nc, anchors=hyp["anchors"], load_backbone=state is None)
    model.names = dict(spec.names)
    if model.load_report:
        log.info("\n".join(model.load_report.lines()))
    if state is not None:
        exclude = ("anchor",) if cfg.cfg or hyp["anchors"] else ()
        matched, total = transfer(model, state, exclude)
        if matched == 0:
            raise CheckpointError(
                f"{cfg.weights}: none of its tensors fits {source}", "choose the --cfg it was made with"
            )
        level = logging.INFO if matched > total / 2 else logging.WARNING
        log.log(level, "transferred %d of %d tensors from %s", matched, total, cfg.weights)
    return model


def fit_model_anchors(
    model: DetectionModel, scan: ScanResult, cfg: TrainConfig, hyp: dict[str, Any], imgsz: int
) -> None:
    """Replace the anchors of the model, in place, where they cover the boxes of the data poorly."""
    if not cfg.autoanchor:
        if hyp["anchors"]:
            raise ConfigError("the hyper-parameter 'anchors' needs AutoAnchor", "remove it or --noautoanchor")
        return
    head = model.head
    rng = np.random.default_rng(cfg.seed)
    pixels = (head.anchors * head.stride.view(-1, 1, 1)).cpu()
    sizes = box_sizes(scan.labels, scan.shapes, imgsz, rng)
    fitted = check_anchors(sizes, pixels.reshape(-1, 2).numpy().astype(float), imgsz, hyp["anchor_t"], rng)
    if fitted is not None:
        by_level = torch.from_numpy(fitted).view_as(pixels)
        if head.stride[0] > head.stride[-1]:
            by_level = by_level.flip(0)
        head.anchors.copy_(by_level.to(head.anchors) / head.stride.view(-1, 1, 1).to(head.anchors))


def build_loaders(
    cfg: TrainConfig, hyp: dict[str, Any], imgsz: int, stride: int, scans: tuple[ScanResult, ScanResult]
) -> tuple[Any, Any]:
    """Return the training and the validation loader; the latter takes twice the batch, as it keeps no gradients."""
    train_scan, val_scan = scans
    train = build_train_loader(
        train_scan,
        imgsz,
        cfg.batch_size,
        AugmentConfig.from_hyp(hyp),
        seed=cfg.seed,
        workers=cfg.workers,
        cache=cfg.cache,
        mosaic_pool=hyp["mosaic_pool"],
    )
    return train, build_val_loader(val_scan, imgsz, 2 * cfg.batch_size, stride, workers=cfg.workers, cache=cfg.cache)


def build_loss(model: DetectionModel, hyp: dict[str, Any], imgsz: int) -> DetectionLoss:
    """Return the loss with its gains scaled to levels, classes and image size."""
    head = model.head
    return DetectionLoss(head.anchors, head.nc, LossGains.from_hyp(hyp, levels=head.nl, nc=head.nc, imgsz=imgsz))


def _decay_scale(batch_size: int, nominal: int) -> float:
    accumulate = max(1, round(nominal / batch_size))
    return batch_size * accumulate / nominal


def _write_inputs(
    run_dir: Path, cfg: TrainConfig, hyp: dict[str, Any], train_scan: ScanResult, val_scan: ScanResult
) -> None:
    (run_dir / "weights").mkdir(exist_ok=True)
    write_yaml(run_dir / "opt.yaml", asdict(cfg))
    write_yaml(run_dir / "hyp.yaml", hyp)
    problems = [*train_scan.problems, *val_scan.problems]
    if problems:
        write_text(run_dir / "skipped.txt", "".join(f"{problem}\n" for problem in problems))
        log.warning("%d problems of the data set are listed in %s", len(problems), run_dir / "skipped.txt")
