"""The hyper-parameter file: every key with its range, and the reader that checks a file against them."""

import math
from pathlib import Path
from typing import Any

from utils.data.mosaic.transforms._contract import transform_keys
from utils.errors import ConfigError
from utils.registry import suggest
from utils.yaml_file import read_yaml

INF = math.inf
RANGES: dict[str, tuple[float, float]] = {  # key → lowest and highest sensible value
    "lr0": (0, 1),
    "lrf": (0, 10),
    "momentum": (0, 0.999),
    "weight_decay": (0, 1),
    "warmup_epochs": (0, INF),
    "warmup_momentum": (0, 0.999),
    "warmup_bias_lr": (0, 1),
    "box": (0, INF),
    "cls": (0, INF),
    "cls_pw": (0, INF),
    "obj": (0, INF),
    "obj_pw": (0, INF),
    "anchor_t": (1, INF),
    "fl_gamma": (0, INF),
    "hsv_h": (0, 1),
    "hsv_s": (0, 1),
    "hsv_v": (0, 1),
    "degrees": (0, 180),
    "translate": (0, 1),
    "scale": (0, 0.99),
    "shear": (0, 89),
    "perspective": (0, 0.01),
    "flipud": (0, 1),
    "fliplr": (0, 1),
    "mosaic": (0, 1),
    "mixup": (0, 1),
    "copy_paste": (0, 1),
}
OPTIONAL: dict[str, tuple[Any, float, float]] = {  # key → default, lowest, highest
    "iou_t": (0.2, 0, 1),  # in every file of the reference, used by none
    "anchors": (None, 0, 10),  # anchors per level; set, it makes AutoAnchor compute them anew
    "label_smoothing": (0.0, 0, 1),
    "nominal_batch": (64, 1, 65536),  # batch to which accumulation and weight decay are scaled
    "mosaic_pool": (2, 1, 4),  # images decoded per image trained; 4 = independent draws for every mosaic
}


def ranges_of_optional_keys() -> dict[str, tuple[Any, float, float]]:
    """Return default, lowest and highest of every key that a file may lack; those of extra transforms are shares."""
    extra = {key: (0.0, 0, 1) for key in transform_keys() if key not in RANGES}
    return OPTIONAL | extra


def load_hyp(path: str | Path) -> dict[str, Any]:
    """Return the checked hyper-parameters of a YAML file, optional keys filled in.

    Raises: ConfigError that lists every missing key, or names an unknown key or a value out of range.
    """
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: not a mapping of hyper-parameters", "start from data/hyps/hyp.scratch-low.yaml")
    optional = ranges_of_optional_keys()
    for key in raw:
        if key not in RANGES and key not in optional:
            raise ConfigError(f"{path}: unknown key {key!r}", suggest(str(key), [*RANGES, *optional]) or "remove it")
    missing = [key for key in RANGES if key not in raw]
    if missing:
        raise ConfigError(f"{path}: keys are missing: {', '.join(missing)}", "copy them from hyp.scratch-low.yaml")
    values = {key: checked(path, key, raw[key], *RANGES[key]) for key in RANGES}
    for key, (default, low, high) in optional.items():
        given = raw.get(key)
        values[key] = default if given is None else checked(path, key, given, low, high)
    return values


def checked(path: str | Path, key: str, value: Any, low: float, high: float) -> float:
    """Return ``value`` if it is a number in the range. Raises: ConfigError naming ``path`` and ``key``."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= value <= high or not math.isfinite(value):
        raise ConfigError(f"{path}: {key}: {value!r} is not a number from {low:g} to {high:g}", f"correct {key}")
    return value
