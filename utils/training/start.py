"""Choose and build the model of a training run: its description, its starting weights, its anchors."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.detector import DetectionModel
from models.keys import check_model_yaml
from models.parse import at, read_model_yaml, read_rows
from models.registry import NO_RECIPE
from models.swap import moved_rows, swap_backbone
from utils.checkpoint.load import load_bare_state, load_checkpoint, transfer
from utils.configs.train import TrainConfig
from utils.data.scan.scan_result import ScanResult
from utils.errors import CheckpointError, ConfigError
from utils.training.autoanchor import box_sizes, check_anchors

log = logging.getLogger(__name__)

DEFAULT_CFG = "models/yolov5s-emo.yaml"
CHANNELS = 3  # red, green, blue
BACKBONE_KEYS = "model.0."  # of a backbone row in a state dict
BACKBONE_WEIGHTS = {"auto": True, "none": False}  # what --backbone-weights says besides a path or a URL


@dataclass(frozen=True)
class Start:
    """The tensors of --weights, and the model YAML that they belong to, None for a bare state dict."""

    state: dict[str, Tensor]
    yaml: dict[str, Any] | None


@dataclass(frozen=True)
class ModelPlan:
    """What to build: the content of a model YAML, what to call it in messages, and tensors to start from."""

    data: dict[str, Any]
    source: str
    head: type  # of its last row
    start: "Start | None" = None
    is_file: bool = False  # ``source`` is the file that holds just ``data``
    keeps_anchors: bool = False  # take the anchors of ``start`` too
    names_weights: bool = False  # --backbone-weights was given

    @property
    def recipe(self) -> dict[str, Any]:
        """Training defaults that the YAML carries."""
        recipe = self.data.get("recipe") or {}
        return {} if recipe == NO_RECIPE else recipe


def plan_model(cfg: TrainConfig) -> ModelPlan:
    """Return the model of --cfg, else of the checkpoint, else the default, with --backbone put in."""
    start = _read_start(cfg.weights, needs_yaml=not cfg.cfg) if cfg.weights else None
    from_checkpoint = start is not None and not cfg.cfg
    data, source = (start.yaml, cfg.weights) if from_checkpoint else read_model_yaml(cfg.cfg or DEFAULT_CFG)
    names_weights = cfg.backbone_weights != "none"
    if not cfg.backbone:
        if names_weights:
            fix = "name the backbone, or the weights in the model YAML"
            raise ConfigError("--backbone-weights needs --backbone", fix)
        with at(source):
            check_model_yaml(data | {"nc": 1, "anchors": 1})  # which the data set and the hyper-parameters may overrule
        head = read_rows(data, source)[-1].entry.cls  # a wrong row is told before the data set is drawn or scanned
        return ModelPlan(data, source, head, start, is_file=not from_checkpoint, keeps_anchors=from_checkpoint)
    weights = BACKBONE_WEIGHTS.get(cfg.backbone_weights, cfg.backbone_weights)
    with at(source):
        swapped = swap_backbone(data, cfg.backbone, weights=weights, imgsz=(cfg.imgsz, cfg.imgsz))
    is_same = from_checkpoint and swapped == data
    start = _with_moved_rows(start) if start else None
    source = f"{source} with {cfg.backbone}"
    head = read_rows(swapped, source)[-1].entry.cls
    return ModelPlan(swapped, source, head, start, keeps_anchors=is_same, names_weights=names_weights)


def _read_start(path: str, needs_yaml: bool) -> Start:
    """Return what --weights starts from; only where the model comes from elsewhere a bare state dict will do."""
    if not needs_yaml and (bare := load_bare_state(path)) is not None:
        return Start(bare, None)
    checkpoint = load_checkpoint(path, use_ema=False)
    return Start(checkpoint.state, checkpoint.yaml)


def _with_moved_rows(start: Start) -> Start:
    """Return the tensors under the rows that they have once a backbone row stands for the first ones."""
    moved = moved_rows(start.yaml) if start.yaml else None
    if moved is None:
        return start
    state = {}
    for key, value in start.state.items():
        prefix, row, rest = key.split(".", 2)
        if int(row) in moved:
            state[f"{prefix}.{moved[int(row)]}.{rest}"] = value
    return Start(state, start.yaml)


def build_model(plan: ModelPlan, names: dict[int, str], anchors: float | None) -> DetectionModel:
    """Return the model with the tensors of the plan, and with the weights that its backbone row names.

    ``anchors`` is the hyper-parameter: anchors per level to be fitted, in place of those of the YAML.
    """
    options = {"nc": len(names), "anchors": anchors, "load_backbone": plan.start is None}
    if plan.is_file:
        model = DetectionModel(plan.source, **options)
    else:
        with at(plan.source):
            model = DetectionModel(plan.data, **options)
    if model.yaml["ch"] != CHANNELS:
        raise ConfigError(
            f"{plan.source}: 'ch: {model.yaml['ch']}', but images are read with {CHANNELS} channels", "remove 'ch'"
        )
    model.names = dict(names)
    if model.wiring:
        log.info("\n  ".join(["levels of the backbone:", *model.wiring]))
    if plan.start is not None:
        _start_from(model, plan, () if plan.keeps_anchors and not anchors else ("anchor",))
    if model.load_report:
        log.info("\n".join(model.load_report.lines()))
    return model


def _start_from(model: DetectionModel, plan: ModelPlan, exclude: tuple[str, ...]) -> None:
    """Copy the tensors of --weights into the model. They go before the weights that the backbone row names, which are
    loaded only where --weights has no such backbone.
    """
    state = plan.start.state
    own = {key: value.shape for key, value in model.state_dict().items() if key.startswith(BACKBONE_KEYS)}
    fills_backbone = model.backbone is not None and all(
        key in state and state[key].shape == shape for key, shape in own.items()
    )
    if fills_backbone and plan.names_weights:
        raise ConfigError("both --weights and --backbone-weights fill the backbone", "leave one of them out")
    if fills_backbone and plan.start.yaml is not None:
        model.set_normalization(plan.start.yaml.get("normalize"))
    elif model.load_backbone():
        exclude = (*exclude, BACKBONE_KEYS)
    matched, total = transfer(model, state, exclude)
    if matched == 0:
        raise CheckpointError(f"none of the tensors of --weights fits {plan.source}", "give the --cfg they belong to")
    has_random_backbone = model.backbone is not None and not fills_backbone and not model.load_report
    level = logging.WARNING if has_random_backbone or matched <= total / 2 else logging.INFO
    note = "; the backbone starts from random weights" if has_random_backbone else ""
    log.log(level, "transferred %d of %d tensors from --weights%s", matched, total, note)


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
