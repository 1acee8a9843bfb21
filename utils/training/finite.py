"""Numbers that are finite: whether all of a tree are, and how those that are not stand in a JSON file."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from utils.errors import LOWER_RATE, DivergedError


def is_finite(tree: Any) -> bool:
    """Return whether every floating tensor in a tree of mappings, lists and tuples is finite."""
    return first_not_finite(tree) is None


def first_not_finite(tree: Any) -> str | None:
    """Return the place, keys joined by dots, of the first tensor in a tree that is not finite; None without one."""
    return next((place for place, tensor in _tensors(tree) if not torch.isfinite(tensor).all()), None)


def check_finite(tree: Any) -> None:
    """Raises: DivergedError naming the first tensor in a tree that is not finite."""
    if place := first_not_finite(tree):
        raise DivergedError(f"the tensor {place} is not finite", LOWER_RATE)


def as_json(value: float) -> float | str:
    """Return the number, or its name where JSON has no form for it."""
    return value if math.isfinite(value) else str(value)


def _tensors(tree: Any, place: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the floating tensors of a tree with their places."""
    if isinstance(tree, Tensor):
        if tree.is_floating_point():
            yield place, tree
        return
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    for key, value in items:
        yield from _tensors(value, f"{place}.{key}" if place else str(key))
