"""Choose and build the model of a training run: its description, its starting weights, what its head fits to data."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from models.detector import DetectionModel
from models.dialects import dialect_of
from models.keys import check_model_yaml
from models.layers.input_channels import adapt_normalization, adapt_state
from models.parse import at, read_model_yaml, read_rows
from models.registry import NO_RECIPE
from models.swap import moved_rows, swap_backbone, swap_head
from utils.checkpoint.load import load_checkpoint, load_weights
from utils.checkpoint.transfer import carry_classes, fitted_keys, same_classes, transfer, wanted_options
from utils.configs.train import TrainConfig
from utils.data.image_store import limiting_sides
from utils.data.scan.scan_result import ScanResult
from utils.errors import CheckpointError, ConfigError
from utils.imgsz import both_sides
from utils.pixels import RGB, PixelFormat
from utils.text import counted

log = logging.getLogger(__name__)

DEFAULT_CFG = "models/yolov5s-emo.yaml"
NAMED_ROWS = 6  # of a message
FIRST_ROW = BACKBONE_KEYS = "model.0."  # in a state dict, of what reads the image, which a backbone row does
BACKBONE_WEIGHTS = {"auto": True, "none": False}  # what --backbone-weights says besides a path or a URL


@dataclass(frozen=True)
class Start:
    """The tensors of --weights, the model YAML that they belong to, None for a bare state dict, and its classes."""

    state: dict[str, Tensor]
    yaml: dict[str, Any] | None
    names: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelPlan:
    """What to build: the content of a model YAML, what to call it in messages, and tensors to start from."""

    data: dict[str, Any]
    source: str
    head: type  # of its last row
    start: "Start | None" = None
    is_same: bool = False  # it is the model of ``start``, so that what its head has fitted to data is taken too
    from_checkpoint: bool = False  # the description is that of ``start``, whose channels need not be the data set's
    names_weights: bool = False  # --backbone-weights was given

    @property
    def recipe(self) -> dict[str, Any]:
        """Training defaults that the YAML carries."""
        recipe = self.data.get("recipe") or {}
        return {} if recipe == NO_RECIPE else recipe


def plan_model(cfg: TrainConfig) -> ModelPlan:
    """Return the model of --cfg, else of the checkpoint, else the default, with --backbone and --head put in."""
    start = _read_start(cfg.weights, needs_yaml=not cfg.cfg) if cfg.weights else None
    from_checkpoint = start is not None and not cfg.cfg
    given, source = (start.yaml, cfg.weights) if from_checkpoint else read_model_yaml(cfg.cfg or DEFAULT_CFG)
    with at(source):
        _check(given)
        data = _altered(given, cfg)
    source = " with ".join(filter(None, (source, cfg.backbone, cfg.head and f"head {cfg.head}")))
    is_same = from_checkpoint and data == given
    if isinstance(data.get("anchors"), int) and not cfg.autoanchor and not is_same:
        what = f"{source}: 'anchors: {data['anchors']}' is a number per level, whose sizes only AutoAnchor finds"
        raise ConfigError(what, "remove --noautoanchor, or write the sizes in pixels, as models/yolov5s.yaml does")
    return ModelPlan(
        data,
        source,
        head=read_rows(data, source)[-1].entry.cls,  # a wrong row is told before the data set is drawn or scanned
        start=_with_moved_rows(start) if start and cfg.backbone else start,
        is_same=is_same,
        from_checkpoint=from_checkpoint,
        names_weights=cfg.backbone_weights != "none",
    )


def _check(data: dict[str, Any]) -> None:
    """Raises: ConfigError for a wrong key, but for those that the data set and the hyper-parameters may overrule."""
    anchors = {"anchors": 1} if dialect_of(data).has_anchors else {}
    check_model_yaml(data | {"nc": 1} | anchors)


def _altered(data: dict[str, Any], cfg: TrainConfig) -> dict[str, Any]:
    """Return the content of a model YAML with the head and the backbone of the command line."""
    if cfg.backbone_weights != "none" and not cfg.backbone:
        fix = "name the backbone, or the weights in the model YAML"
        raise ConfigError("--backbone-weights needs --backbone", fix)
    if cfg.head:
        data = swap_head(data, cfg.head)
    if cfg.backbone:
        weights = BACKBONE_WEIGHTS.get(cfg.backbone_weights, cfg.backbone_weights)
        data = swap_backbone(data, cfg.backbone, weights=weights, imgsz=both_sides(cfg.imgsz))
    return data


def _read_start(path: str, needs_yaml: bool) -> Start:
    """Return what --weights starts from; only where the model comes from elsewhere a bare state dict will do."""
    found = load_checkpoint(path, use_ema=False) if needs_yaml else load_weights(path, use_ema=False)
    return Start(found, None) if isinstance(found, dict) else Start(found.state, found.yaml, found.names)


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
    return replace(start, state=state)


def build_model(
    plan: ModelPlan, names: dict[int, str], anchors: float | None, pixels: PixelFormat = RGB
) -> DetectionModel:
    """Return the model with the tensors of the plan, and with the weights that its backbone row names.

    Tensors for other channels than those of ``pixels`` are adapted. ``anchors`` is the hyper-parameter: anchors per
    level to be fitted, in place of those of the YAML.
    """
    plan = _for_channels(plan, pixels)
    options = {"nc": len(names), "anchors": anchors, "load_backbone": plan.start is None}
    model = DetectionModel(plan.data, source=plan.source, **options)
    if plan.start is not None and (wanted := wanted_options(model, plan.start.state)):
        model = DetectionModel(plan.data | wanted | {"nc": len(names)}, source=plan.source, **options)
    model.names = dict(names)
    if model.wiring:
        log.info("\n  ".join(["levels of the backbone:", *model.wiring]))
    if plan.start is not None:
        plan = replace(plan, start=_adapted(plan.start, model))
        _start_from(model, plan, () if plan.is_same and not anchors else fitted_keys(model))
    if model.load_report:
        log.info("\n".join(model.load_report.lines()))
    return model


def _for_channels(plan: ModelPlan, pixels: PixelFormat) -> ModelPlan:
    """Return the plan for images of ``pixels``. Raises: ConfigError where a model YAML is for other channels."""
    found, channels = plan.data.get("ch"), pixels.channels
    if found not in (None, channels) and not plan.from_checkpoint:
        what = f"{plan.source}: 'ch: {found}', but the images of the data set have {counted(channels, 'channel')}"
        raise ConfigError(what, "remove 'ch', or correct channels in the data-set YAML")
    data = {key: value for key, value in plan.data.items() if key not in ("ch", "bits")} | {"ch": channels}
    if pixels.bits != RGB.bits:
        data["bits"] = pixels.bits
    if found not in (None, channels) and data.get("normalize"):
        data["normalize"] = adapt_normalization(data["normalize"], channels)
    return replace(plan, data=data)


def _adapted(start: Start, model: DetectionModel) -> Start:
    """Return the tensors with the first convolution for the channels of the model."""
    channels = model.yaml["ch"]
    trained = (start.yaml or {}).get("ch", RGB.channels)
    own = {key: value for key, value in model.state_dict().items() if key.startswith(FIRST_ROW)}
    state = adapt_state(start.state, own, trained, channels)
    if any(state[key] is not value for key, value in start.state.items()):
        log.info("weights for images of %d channels are adapted to %d", trained, channels)
    return replace(start, state=state)


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
        model.set_normalization(adapt_normalization(plan.start.yaml.get("normalize"), model.yaml["ch"]))
    elif model.load_backbone():
        exclude = (*exclude, BACKBONE_KEYS)
    copied, total = transfer(model, state, exclude), len(model.state_dict())
    if not copied:
        raise CheckpointError(f"none of the tensors of --weights fits {plan.source}", "give the --cfg they belong to")
    has_random_backbone = model.backbone is not None and not fills_backbone and not model.load_report
    level = logging.WARNING if has_random_backbone or len(copied) <= total / 2 else logging.INFO
    note = "; the backbone starts from random weights" if has_random_backbone else ""
    left = _rows_without(model, copied, exclude) if not has_random_backbone else ""
    log.log(level, "transferred %d of %d tensors from --weights%s%s", len(copied), total, left, note)
    _carry_classes(model, plan.start)


def _rows_without(model: DetectionModel, copied: set[str], exclude: Sequence[str]) -> str:
    """Say which rows lack some of the tensors that were wanted."""
    own = (key for key in model.state_dict() if key.startswith("model.") and not any(part in key for part in exclude))
    rows = sorted({int(key.split(".")[1]) for key in own if key not in copied})
    named = ", ".join(f"row {row} {model.rows[row].name}" for row in rows[:NAMED_ROWS])
    more = f" and {len(rows) - NAMED_ROWS} more" if len(rows) > NAMED_ROWS else ""
    return f"; not all of {named}{more}" if rows else ""


def _carry_classes(model: DetectionModel, start: Start) -> None:
    """Give the head what --weights knows of the classes that both call by the same name."""
    pairs = same_classes(start.names, model.names)
    if start.names == model.names or not carry_classes(model, start.state, len(start.names), pairs):
        return
    found = ", ".join(model.names[ours] for _, ours in pairs[:NAMED_ROWS]) or "none"
    more = " …" if len(pairs) > NAMED_ROWS else ""
    log.info("classes that --weights knows by name: %d of %d: %s%s", len(pairs), len(model.names), found, more)


def fit_head(
    model: DetectionModel, scan: ScanResult, shape: tuple[int, int], hyp: Mapping[str, Any], seed: int
) -> None:
    """Let a head that can fit itself to the boxes of the data, in place; images fit into ``shape`` (h, w)."""
    if hasattr(model.head, "fit"):
        rng = np.random.default_rng(seed)
        model.head.fit(_box_sizes(scan.labels, scan.shapes, shape, rng), max(shape), hyp, rng)


def _box_sizes(
    labels: list[np.ndarray], shapes: np.ndarray, shape: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Return (T, 2) widths and heights in pixels, each image scaled by a random 0.9 to 1.1.

    ``labels`` are per image (n, 5) [class, cx, cy, w, h] in 0–1, ``shapes`` (N, 2) height and width.
    Every image is as large as fits ``shape`` (h, w).
    """
    limit, side = limiting_sides(shapes, shape)
    scaled = limit * shapes[:, ::-1] / side * rng.uniform(0.9, 1.1, (len(shapes), 1))
    counts = [len(rows) for rows in labels]
    return np.concatenate([rows[:, 3:5] for rows in labels]) * np.repeat(scaled, counts, axis=0)
