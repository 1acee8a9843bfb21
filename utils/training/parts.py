"""What trains a model, each part made for it: the same for a run as for the trial that measures its memory."""

import logging
from typing import Any, NamedTuple

import torch

from models.detector import DetectionModel
from utils.configs.train import TrainConfig
from utils.device import autocast_dtype
from utils.hyper import take
from utils.losses import build_loss
from utils.losses._contract import Loss
from utils.training.ema import ModelEMA
from utils.training.freeze import Freezing, frozen_rows
from utils.training.inputs import Inputs
from utils.training.layer_decay import layer_factors, log_rates
from utils.training.optim import build_optimizer, parameter_groups
from utils.training.schedule import ScheduleHyp

log = logging.getLogger(__name__)


class Parts(NamedTuple):
    """What a training step needs besides model and batch."""

    freezing: Freezing
    optimizer: torch.optim.Optimizer
    amp_dtype: torch.dtype | None
    ema: ModelEMA
    loss: Loss


def build_parts(inputs: Inputs, batch_size: int) -> Parts:
    """Freeze what is to be frozen of the model, in place, and return the parts. Raises: ConfigError."""
    cfg, model = inputs.cfg, inputs.model
    return Parts(
        Freezing(model.model, frozen_rows(cfg.freeze, len(model.model), len(model.backbone_rows)), cfg.unfreeze_epoch),
        _optimizer(model, cfg, inputs.hyp, batch_size),
        autocast_dtype(inputs.device, cfg.amp),
        ModelEMA(model),
        build_loss(model.head, inputs.hyp, max(inputs.shape)),
    )


def log_parts(inputs: Inputs, parts: Parts) -> None:
    """Say which rows are frozen, and at which rates the layers of the backbone learn."""
    cfg, model = inputs.cfg, inputs.model
    if rows := frozen_rows(cfg.freeze, len(model.model), len(model.backbone_rows)):
        until = "" if cfg.unfreeze_epoch is None else f"; they train from epoch {cfg.unfreeze_epoch} on"
        log.info("frozen: rows %s%s", ", ".join(f"{row} {model.rows[row].name}" for row in rows), until)
    if cfg.layer_decay != 1:
        log_rates(parts.optimizer.param_groups)


def _optimizer(model: DetectionModel, cfg: TrainConfig, hyp: dict[str, Any], batch_size: int) -> torch.optim.Optimizer:
    values = take(ScheduleHyp, hyp)
    weight_decay = values.weight_decay * _decay_scale(batch_size, values.nominal_batch)
    backbone = model.backbone or model.model[: len(model.backbone_rows)]
    factors = layer_factors(model, cfg.layer_decay) if cfg.layer_decay != 1 else {}
    groups = parameter_groups(model, values.lr0, weight_decay, backbone, cfg.backbone_lr, factors)
    return build_optimizer(cfg.optimizer, groups, values.momentum)


def _decay_scale(batch_size: int, nominal: int) -> float:
    accumulate = max(1, round(nominal / batch_size))
    return batch_size * accumulate / nominal
