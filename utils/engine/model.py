"""Choose and build the model of a training run: its description, its starting weights, its anchors."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.parse import at, read_model_yaml
from models.swap import swap_backbone
from models.yolo import DetectionModel
from utils.checkpoint.load import load_checkpoint, load_state, transfer
from utils.data.labels import ScanResult
from utils.engine.autoanchor import box_sizes, check_anchors
from utils.engine.configs import TrainConfig
from utils.errors import CheckpointError, ConfigError

log = logging.getLogger(__name__)

DEFAULT_CFG = "models/yolov5s-emo.yaml"
BACKBONE_WEIGHTS = {"auto": True, "none": False}  # what --backbone-weights says besides a path or a URL


@dataclass(frozen=True)
class ModelPlan:
    """What to build: the content of a model YAML, what to call it in messages, and tensors to start from."""

    data: dict[str, Any]
    source: str
    state: dict[str, Tensor] | None = None
    is_file: bool = False  # ``source`` is the file that holds just ``data``
    keeps_anchors: bool = False  # take the anchors of ``state`` too

    @property
    def recipe(self) -> dict[str, Any]:
        """Training defaults that the YAML carries."""
        return self.data.get("recipe") or {}


def plan_model(cfg: TrainConfig) -> ModelPlan:
    """Return the model of --cfg, else of the checkpoint, else the default, with --backbone put in."""
    state = None
    if cfg.weights and not cfg.cfg:
        checkpoint = load_checkpoint(cfg.weights, use_ema=False)
        state, data, source = checkpoint.state, checkpoint.yaml, cfg.weights
    else:
        state = load_state(cfg.weights) if cfg.weights else None
        data, source = read_model_yaml(cfg.cfg or DEFAULT_CFG)
    if cfg.backbone:
        weights = BACKBONE_WEIGHTS.get(cfg.backbone_weights, cfg.backbone_weights)
        data = swap_backbone(data, cfg.backbone, weights=weights, imgsz=(cfg.imgsz, cfg.imgsz))
        source = f"{source} with {cfg.backbone}"
    elif cfg.backbone_weights != "none":
        raise ConfigError("--backbone-weights needs --backbone", "name the backbone, or the weights in the model YAML")
    from_checkpoint = bool(cfg.weights and not cfg.cfg)
    is_file = not (cfg.backbone or from_checkpoint)
    return ModelPlan(data, source, state, is_file, keeps_anchors=from_checkpoint and not cfg.backbone)


def build_model(plan: ModelPlan, names: dict[int, str], anchors: float | None) -> DetectionModel:
    """Return the model with the tensors of the plan, or with the weights that its backbone row names.

    ``anchors`` is the hyper-parameter: anchors per level to be fitted, in place of those of the YAML.
    """
    load = {"nc": len(names), "anchors": anchors, "load_backbone": plan.state is None}
    if plan.is_file:
        model = DetectionModel(plan.source, **load)
    else:
        with at(plan.source):
            model = DetectionModel(plan.data, **load)
    model.names = dict(names)
    if model.wiring:
        log.info("levels of the backbone:\n  %s", "\n  ".join(model.wiring))
    if model.load_report:
        log.info("\n".join(model.load_report.lines()))
    if plan.state is not None:
        exclude = () if plan.keeps_anchors and not anchors else ("anchor",)
        matched, total = transfer(model, plan.state, exclude)
        if matched == 0:
            raise CheckpointError(
                f"none of the tensors of --weights fits {plan.source}", "give the --cfg they belong to"
            )
        level = logging.INFO if matched > total / 2 else logging.WARNING
        log.log(level, "transferred %d of %d tensors from --weights", matched, total)
    return model


@torch.no_grad()
def fit_model_anchors(model: DetectionModel, scan: ScanResult, imgsz: int, anchor_t: float, seed: int) -> None:
    """Replace the anchors of the model, in place, where they cover the boxes of the data poorly."""
    head, rng = model.head, np.random.default_rng(seed)
    strides = head.stride.view(-1, 1, 1).to(head.anchors)
    pixels = head.anchors * strides
    sizes = box_sizes(scan.labels, scan.shapes, imgsz, rng)
    fitted = check_anchors(sizes, pixels.reshape(-1, 2).cpu().double().numpy(), imgsz, anchor_t, rng)
    if fitted is not None:
        by_level = torch.from_numpy(fitted).view_as(pixels).to(pixels)
        head.anchors.copy_((by_level.flip(0) if strides[0] > strides[-1] else by_level) / strides)
