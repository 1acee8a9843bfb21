"""The top level of a model YAML: which keys there are, and what each must be."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from models.dialects import dialect_of
from models.registry import NO_RECIPE
from utils.errors import ConfigError
from utils.registry import suggest


def check_model_yaml(data: dict[str, Any]) -> None:
    """Check the top level of a model YAML. Raises: ConfigError naming the key and its value."""
    dialect = dialect_of(data)
    missing = [key for key in dialect.required if key not in data]
    if missing:
        or_else = ", or write [nc] in the row of the head" if missing == ["anchors"] else ""
        raise ConfigError(
            f"missing {', '.join(map(repr, missing))}", f"add it{or_else}; {dialect.example} is an example"
        )
    for key, value in data.items():
        if key in OTHER_TASKS:
            raise ConfigError(f"{key}: a model for {OTHER_TASKS[key]}", "give the YAML of a detection model")
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


def _is_scales(value: Any) -> bool:
    """Return whether it is letter → [depth, width, max_channels]."""
    if not isinstance(value, dict) or not value or not all(isinstance(key, str) and key for key in value):
        return False
    return all(
        isinstance(sizes, list) and len(sizes) == 3 and all(map(_is_positive, sizes)) for sizes in value.values()
    )


OTHER_TASKS = {
    "kpt_shape": "pose estimation",
    **dict.fromkeys(("text_model", "custom_llm"), "detection prompted by text"),
}
COUNT = (is_count, "a positive whole number")
POSITIVE = (_is_positive, "a positive number")
ROWS = (_is_rows, "a list of rows [from, number, module, args]")
KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {  # key → its check, and what it must be
    "nc": COUNT,
    "depth_multiple": POSITIVE,
    "width_multiple": POSITIVE,
    "anchors": (_is_anchors, "a positive number, or for each level the same count of pairs of positive width, height"),
    "scales": (_is_scales, "a mapping from a letter to [depth, width, max_channels], positive numbers"),
    "scale": (lambda value: value is None or isinstance(value, str), "a letter of 'scales'"),
    "reg_max": (lambda value: is_count(value) and value > 1, "a whole number from 2: bins for a side of a box"),
    "class_width": COUNT,  # of the anchor-free head's class branch, kept from the weights that it started from
    "end2end": (lambda value: not value, "false, because heads that need no NMS are not built"),
    "backbone": ROWS,
    "head": ROWS,
    "activation": (lambda value: isinstance(value, str), "a text such as nn.SiLU()"),
    "channel_multiple": COUNT,
    "ch": COUNT,
    "bits": (lambda value: value in (8, 16), "8 or 16"),  # of the values of the images that it was trained with
    "names": (lambda value: not value or isinstance(value, Mapping), "a list or mapping of class names"),
    "inplace": (lambda value: isinstance(value, bool), "true or false"),  # of the reference; decides nothing here
    "normalize": (_is_normalization, "'mean' and 'std', a number for each channel"),
    "recipe": (
        lambda value: value == NO_RECIPE or isinstance(value, Mapping),
        "a mapping of training defaults, or none",
    ),
}
