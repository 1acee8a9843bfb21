"""What a weights file says about a detector, and the checks that native and official files share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.checkpoint.archive import Archive
from utils.checkpoint.tables import NAMESPACE, Node, NumpyArray, RefusedError, TensorRecord, describe
from utils.errors import CheckpointError

START_FROM_STATE = (
    "train.py --weights FILE --cfg MODEL.yaml starts from it and writes checkpoints that describe their model"
)
EDITED = "use the file as train.py, YOLOv5 or YOLOv8 wrote it"
FUSED = "its norms are folded into its convolutions for inference; use the file from before that"
MAX_DEPTH = 64
MAX_VALUES = 200_000


@dataclass(frozen=True)
class Checkpoint:
    """A detector as data: ``yaml`` describes the model, ``state`` fills it."""

    path: Path
    yaml: dict[str, Any]
    names: dict[int, str]
    state: dict[str, Tensor]  # float tensors are float32
    stride: tuple[int, ...]  # input pixels per cell of each level; empty where an old file does not say
    epoch: int  # last finished epoch, from 0; -1 for weights without a training state
    facts: dict[str, Any]  # "format", "best_fitness", "imgsz", "training"
    layers: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)  # official: class, attributes by path


def plain(value: Any, tensor: Callable[[TensorRecord], Any] | None = None) -> Any:
    """Return plain data as a tree without shared parts; ``tensor`` converts the tensors in it, None refuses them.

    Raises: RefusedError for records of classes, more than 200 000 values, or more than 64 levels.
    """
    left = MAX_VALUES

    def copy(item: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > MAX_DEPTH:
            raise RefusedError(f"more than {MAX_VALUES} values or {MAX_DEPTH} levels of plain data")
        if type(item) is dict:
            return {key: copy(part, depth + 1) for key, part in item.items()}
        if type(item) in (list, tuple, set):
            return type(item)(copy(part, depth + 1) for part in item)
        if type(item) is Node and item.kind == NAMESPACE:
            return copy(item.state, depth + 1)
        if type(item) is NumpyArray and item.value is not None and item.value.size <= MAX_VALUES:
            return item.value.tolist()
        if type(item) is TensorRecord and tensor is not None:
            return tensor(item)
        if item is None or type(item) in (str, int, float, bool):
            return item
        raise RefusedError(f"{describe(item)} where plain data belongs")

    return copy(value, 0)


def read_number(value: Any) -> float | None:
    """Return a fitness that may be a number, a NumPy number or an array of one number."""
    if type(value) is NumpyArray and value.value is not None and value.value.size == 1:
        return float(value.value.item())
    return float(value) if type(value) in (int, float) else None


def read_state(archive: Archive, records: dict[str, TensorRecord]) -> dict[str, Tensor]:
    """Return the tensors, floating ones in float32. Raises: CheckpointError for the first that is not finite."""
    state = {}
    for key, record in records.items():
        value = archive.tensor(record)
        if value.is_floating_point():
            value = value.float()
            if not torch.isfinite(value).all():
                raise CheckpointError(
                    f"{archive.path}: tensor {describe(key)} holds NaN or infinity",
                    "use a checkpoint from before it diverged",
                )
        state[key] = value
    return state


def check_names(path: Path, names: Any, nc: Any) -> dict[int, str]:
    """Return class names by index. Raises: CheckpointError unless they are 0 to nc - 1."""
    if isinstance(names, list | tuple):
        names = dict(enumerate(names))
    if type(nc) is not int or nc < 1:
        raise CheckpointError(f"{path}: its class count nc is {describe(nc)} instead of a number from 1", EDITED)
    count = len(names) if isinstance(names, dict) else 0
    if count != nc or set(names) != set(range(nc)):
        raise CheckpointError(
            f"{path}: its {count} class names are not numbered 0 to {nc - 1} as its nc = {nc} asks", EDITED
        )
    odd = [name for name in names.values() if type(name) not in (str, int, float, bool)]
    if odd:
        raise CheckpointError(f"{path}: its class names hold {describe(odd[0])} instead of a text", EDITED)
    return {index: str(names[index]) for index in range(nc)}
