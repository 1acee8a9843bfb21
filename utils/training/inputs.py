"""Read and check everything that a training run starts from; nothing is written."""

import logging
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.detector import DetectionModel
from utils.configs.shared import AUTO
from utils.configs.train import TrainConfig
from utils.data.quad import JOINED
from utils.data.scan.class_selection import keep_classes, select_classes
from utils.data.scan.one_class import as_one_class, with_one_class
from utils.data.scan.overlap import warn_of_overlap
from utils.data.scan.scan import scan_split
from utils.data.scan.scan_result import ScanResult
from utils.data.scan.spec import DataSpec, load_data_spec
from utils.data.scan.statistics import statistics_line
from utils.device import select_device
from utils.dist import world
from utils.errors import ConfigError
from utils.files import find_file
from utils.imgsz import fit_shape
from utils.loggers import check_loggers
from utils.losses import find_loss
from utils.pixels import RGB, PixelFormat
from utils.runs import ROOT
from utils.training.fingerprint import fingerprint
from utils.training.fitness import check_fitness
from utils.training.hyp import load_hyp, with_label_smoothing
from utils.training.multi_scale import check_sizes
from utils.training.recipe import apply_recipe
from utils.training.resume import Resumed
from utils.training.settings import log_settings
from utils.training.start import ModelPlan, build_model, fit_head, plan_model

log = logging.getLogger(__name__)

HYPS = "data/hyps"
TAKE_WEIGHTS = {"mlflow", "wandb"}  # of the loggers


@dataclass(frozen=True)
class Inputs:
    """What was read and checked before anything is written."""

    cfg: TrainConfig
    hyp: dict[str, Any]
    spec: DataSpec
    device: torch.device
    scans: tuple[ScanResult, ScanResult]  # training, validation
    model: DetectionModel
    shape: tuple[int, int]  # (height, width) that training images have, or with --rect fit into
    data_facts: dict[str, Any]  # what the data were, for a resume to compare


def read_inputs(cfg: TrainConfig, resumed: Resumed | None) -> Inputs:
    """Return the inputs of a new run, or of the one that goes on. Raises: UserError for any that is wrong."""
    cfg = resumed.cfg if resumed else cfg
    check_together(cfg)
    _check_processes(cfg)
    device = select_device(cfg.device)
    seed_everything(cfg.seed, device)
    plan = None if resumed else plan_model(cfg)
    spec = load_data_spec(cfg.data)
    cfg, hyp = (cfg, resumed.hyp) if resumed else _settings(cfg, spec, plan)
    spec, train_scan, val_scan = _scan(spec, cfg)
    check_fitness(cfg.fitness, spec.names, val_scan.labels)
    facts = fingerprint(spec.names, {"train": train_scan, "val": val_scan})
    if resumed:
        resumed.check_data(facts)
        model = resumed.model()
        _check_pixels(model, spec)
    else:
        model = build_model(plan, spec.names, hyp.get("anchors"), spec.pixels)
    model = model.to(device, memory_format=torch.channels_last)
    shape = image_shape(cfg, model)
    log.info("train: %s", statistics_line(train_scan, spec.names, shape))
    if cfg.multi_scale:
        check_sizes(model, max(shape))
    if cfg.autoanchor and not resumed and cfg.show_aug is None:
        fit_head(model, train_scan, shape, hyp, cfg.seed)
    return Inputs(cfg, hyp, spec, device, (train_scan, val_scan), model, shape, facts)


def check_together(cfg: TrainConfig) -> None:
    """Raises: ConfigError for options that exclude each other."""
    if cfg.rect and cfg.image_weights:
        what = "--rect puts the same images together in every epoch, --image-weights draws others"
        raise ConfigError(what, "leave one of them out")
    if cfg.checkpointing and cfg.compile:
        what = "--checkpointing computes blocks again that --compile has made one of"
        raise ConfigError(what, "leave one of them out")
    if cfg.unfreeze_epoch is not None and not cfg.freeze:
        raise ConfigError("--unfreeze-epoch needs rows that are frozen", "name them, as --freeze backbone does")
    _check_instead(cfg)
    check_loggers(cfg.logger)
    if cfg.log_weights and not TAKE_WEIGHTS & set(cfg.logger):
        raise ConfigError("--log-weights needs a logger that takes files", "add --logger mlflow, or --logger wandb")
    if cfg.quad and cfg.batch_size % JOINED and cfg.batch_size != AUTO:
        fix = "give a multiple of 4, or leave --quad out"
        raise ConfigError(f"--quad joins {JOINED} images, and --batch-size {cfg.batch_size} is no multiple", fix)
    processes = max(world(), cfg.device.count(",") + 1)
    if cfg.batch_size == AUTO and processes > 1:
        what = f"--batch-size auto measures the memory of one process, and there are {processes}"
        raise ConfigError(what, "give the number of images for all of them together")


def _check_instead(cfg: TrainConfig) -> None:
    """Raises: ConfigError for two of the options in place of training."""
    wanted = {"--print-config": cfg.print_config, "--dry-run": cfg.dry_run, "--show-aug": cfg.show_aug is not None}
    flags = [flag for flag, is_wanted in wanted.items() if is_wanted]
    if len(flags) > 1:
        raise ConfigError(f"{' and '.join(flags)} are each done in place of training", "give one of them")


def _check_processes(cfg: TrainConfig) -> None:
    """Raises: ConfigError for options that several processes cannot share."""
    if cfg.quad and world() > 1:
        raise ConfigError(f"--quad joins the images of one process, and there are {world()}", "leave --quad out")
    if cfg.unfreeze_epoch is not None and world() > 1:
        what = f"--unfreeze-epoch: {world()} processes agree at the start on what they train"
        raise ConfigError(what, "train in one process, or in two runs, the second with --weights")
    if cfg.checkpointing and cfg.sync_bn and world() > 1:
        what = "--checkpointing and --sync-bn together do not train as either does alone"
        raise ConfigError(what, "leave one of them out")
    if cfg.batch_size != AUTO and cfg.batch_size < world():
        what = f"--batch-size {cfg.batch_size} is the number of images for all {world()} processes"
        raise ConfigError(what, f"give {world()} or more")
    if cfg.sync_bn and world() == 1:
        log.info("--sync-bn: there is one process, whose norms see all images anyway")


def _check_pixels(model: DetectionModel, spec: DataSpec) -> None:
    """Raises: ConfigError where the data set has other images than those that a run began with."""
    began = PixelFormat(model.yaml["ch"], model.yaml.get("bits", RGB.bits))
    if began != spec.pixels:
        what = f"{spec.file}: images of {spec.pixels}, but the run began with {began}"
        raise ConfigError(what, "correct channels and bits in it, or start a new run with --weights")


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
    cfg, hyp, file = resolve(cfg, spec, plan)
    loss = find_loss(plan.head)
    log_settings(cfg, hyp, load_hyp(ROOT / HYPS / loss.file, loss), file.name)
    return cfg, hyp


def resolve(cfg: TrainConfig, spec: DataSpec, plan: ModelPlan) -> tuple[TrainConfig, dict[str, Any], Path]:
    """Return options and hyper-parameters: the user's, else the model's recipe, else those that suit the data.

    The path is that of the hyper-parameter file.
    """
    loss = find_loss(plan.head)
    file = find_file(cfg.hyp or spec.hyp or loss.file, HYPS, (".yaml", ".yml"))
    hyp = load_hyp(file, loss)
    cfg, hyp = apply_recipe(plan.recipe if cfg.recipe else {}, cfg, hyp, loss, plan.source)
    hyp = with_label_smoothing(hyp, cfg.label_smoothing)
    if hyp.get("anchors") and not cfg.autoanchor:
        raise ConfigError("the hyper-parameter 'anchors' needs AutoAnchor", "remove it or --noautoanchor")
    return cfg, hyp, file


def _scan(spec: DataSpec, cfg: TrainConfig) -> tuple[DataSpec, ScanResult, ScanResult]:
    """Return the data set with the scans of its training and validation images, in the classes that are wished."""
    selection = select_classes(cfg.classes, spec.names) if cfg.classes else None
    train, val = (scan_split(spec, split) for split in (spec.train, spec.val))
    warn_of_overlap(train, val)
    if selection:
        train, val = (keep_classes(scan, selection, spec.nc) for scan in (train, val))
        spec = replace(spec, names=selection.names)
    return (with_one_class(spec), as_one_class(train), as_one_class(val)) if cfg.single_cls else (spec, train, val)


def seed_everything(seed: int, device: torch.device) -> None:
    """Seed the global generators, and on a GPU choose reproducible kernels; the data have generators of their own."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # code of users may draw from it
    torch.manual_seed(seed)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
