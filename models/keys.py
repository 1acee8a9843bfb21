"""The top level of a model YAML: which keys there are, and what each must be."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from models.registry import NO_RECIPE
from utils.errors import ConfigError
from utils.registry import suggest

REQUIRED = ("nc", "depth_multiple", "width_multiple", "anchors", "backbone", "head")


def check_model_yaml(data: dict[str, Any]) -> None:
    """Check the top level of a model YAML. Raises: ConfigError naming the key and its value."""
    missing = [key for key in REQUIRED if key not in data]
    if missing:
        raise ConfigError(f"missing {', '.join(map(repr, missing))}", "add it; models/yolov5s.yaml is an example")
    for key, value in data.items():
        if key not in KEYS:
            raise ConfigError(f"unknown key {key!r}", suggest(str(key), KEYS) or f"known: {', '.join(KEYS)}")
        is_valid, meaning = KEYS[key]
        if not is_valid(value):
            raise ConfigError(f"{key}: {value!r} is not {meaning}", f"give {meaning}")
    normalize, channels = data.get("normalize"), data.get("ch", 3)
    if normalize and len(normalize["mean"]) != channels:
        raise ConfigError(
            f"normalize: {len(normalize['mean'])} numbers for {channels} channels", "give one number per channel"
        )


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_anchors(value: Any) -> bool:
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        return is_count(value)
    lengths = {len(row) for row in value}
    pairs = len(lengths) == 1 and min(lengths) > 0 and min(lengths) % 2 == 0
    return pairs and all(_is_positive(side) for row in value for side in row)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0


def _is_normalization(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"mean", "std"}:
        return False
    mean, std = value["mean"], value["std"]
    lists = isinstance(mean, list) and isinstance(std, list) and len(mean) == len(std) > 0
    return lists and all(map(_is_number, mean)) and all(map(_is_positive, std))


COUNT = (is_count, "a positive whole number")
POSITIVE = (_is_positive, "a positive number")
ROWS = (_is_rows, "a list of rows [from, number, module, args]")
KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {  # key → its check, and what it must be
    "nc": COUNT,
    "depth_multiple": POSITIVE,
    "width_multiple": POSITIVE,
    "anchors": (_is_anchors, "a positive number, or for each level the same count of pairs of positive width, height"),
    "backbone": ROWS,
    "head": ROWS,
    "activation": (lambda value: isinstance(value, str), "a text such as nn.SiLU()"),
    "channel_multiple": COUNT,
    "ch": COUNT,
    "names": (lambda value: not value or isinstance(value, Mapping), "a list or mapping of class names"),
    "inplace": (lambda value: isinstance(value, bool), "true or false"),  # of the reference; decides nothing here
    "normalize": (_is_normalization, "'mean' and 'std', a number for each channel"),
    "recipe": (
        lambda value: value == NO_RECIPE or isinstance(value, Mapping),
        "a mapping of training defaults, or none",
    ),
}
