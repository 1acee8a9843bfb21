"""Hyper-parameters, each declared once: as a field, with its range, of the frozen dataclass that reads it."""

from collections.abc import Mapping
from dataclasses import Field, field, fields
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
