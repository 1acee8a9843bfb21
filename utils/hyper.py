"""Hyper-parameters, each declared once: as a field, with its range, of the frozen dataclass that reads it."""

import math
from collections.abc import Mapping
from dataclasses import Field, field, fields
from pathlib import Path
from typing import Any, TypeVar

from utils.errors import ConfigError

Values = TypeVar("Values")


def hyper(default: Any, low: float, high: float, *, optional: bool = False) -> Any:
    """Return a dataclass field whose value in a file lies from ``low`` to ``high``; a file may lack an optional one."""
    return field(default=default, metadata={"low": low, "high": high, "optional": optional})


def hyper_fields(*classes: type) -> dict[str, Field]:
    """Return the hyper-parameters of some dataclasses by name; a field without a range is none."""
    return {item.name: item for cls in classes for item in fields(cls) if "low" in item.metadata}


def limits(item: Field) -> tuple[float, float]:
    """Return the lowest and the highest value."""
    return item.metadata["low"], item.metadata["high"]


def take(cls: type[Values], hyp: Mapping[str, Any], **others: Any) -> Values:
    """Return the dataclass with its hyper-parameters of ``hyp``, and ``others`` for its other fields.

    Raises: ConfigError where one is missing that is not optional.
    """
    known = hyper_fields(cls)
    missing = [name for name, item in known.items() if name not in hyp and not item.metadata["optional"]]
    if missing:
        raise ConfigError(f"hyper-parameter {missing[0]!r} is missing", "add it, as in the files of data/hyps")
    return cls(**{name: hyp[name] for name in known if name in hyp}, **others)


def checked(path: str | Path, key: str, value: Any, item: Field) -> Any:
    """Return ``value`` if it is a number in the range of its field, the default for None if the field is optional.

    Raises: ConfigError naming ``path`` and ``key``.
    """
    if value is None and item.metadata["optional"]:
        return item.default
    low, high = limits(item)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= value <= high or not math.isfinite(value):
        raise ConfigError(f"{path}: {key}: {value!r} is not a number from {low:g} to {high:g}", f"correct {key}")
    return value
