"""Our own checkpoints: tensors and plain data only, so that ``torch.load(path, weights_only=True)`` reads them too.

format, version   "yolo-backbones", 1
yaml              the model description, with the number of classes that it was trained with
names, nc, stride, imgsz
state             state_dict of the model in training form (unfused); float32, or "half", see HALF_ERROR
epoch             the last finished epoch, from 0; -1 where there is none
best_fitness
training          hyper-parameters, options, date; of last.pt, "resume": see utils/training/resume.py
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from utils.checkpoint.archive import Archive
from utils.checkpoint.content import EDITED, Checkpoint, check_names, plain, read_state
from utils.checkpoint.tables import TensorRecord, describe
from utils.errors import LOWER_RATE, CheckpointError, DivergedError
from utils.imgsz import MAX_IMGSZ
from utils.runs import atomic_write

FORMAT = "yolo-backbones"
VERSION = 1
HALF_ERROR = 2**-11  # that of float16, of the largest value of a tensor; one where it would be more stays float32


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    *,
    epoch: int,
    fitness: float,
    training: dict[str, Any],
    imgsz: int | None = None,
    half: bool = False,
    previous: str | Path | None = None,
) -> None:
    """Write a model that is not fused, atomically; the model stays as it is, and the old file as ``previous``.

    ``half`` stores the weights of convolutions and linear layers in float16; norms, biases and scales stay float32.
    Raises: DivergedError for a tensor that holds NaN or infinity, before anything is written; TypeError naming the
    entry of ``training`` that is neither a tensor nor plain data.
    """
    entries = {"epoch": epoch, "fitness": fitness, "training": training, "imgsz": imgsz}
    archive = saved(checkpoint_content(model, **entries, half=half))
    with atomic_write(path, previous) as temporary:
        temporary.write_bytes(archive)


def saved(content: Any, **options: Any) -> memoryview:
    """Return what ``torch.save`` writes; into a file it turns a full disk into a RuntimeError without errno."""
    archive = io.BytesIO()
    torch.save(content, archive, **options)
    return archive.getbuffer()


def checkpoint_content(
    model: nn.Module,
    *,
    epoch: int,
    fitness: float,
    training: dict[str, Any],
    imgsz: int | None = None,
    half: bool = False,
) -> dict[str, Any]:
    """Return what ``save_checkpoint`` writes. Raises: DivergedError, TypeError."""
    in_half = {name for name, tensor in model.named_parameters() if half and tensor.ndim > 1 and tensor.numel()}
    return {
        "format": FORMAT,
        "version": VERSION,
        "yaml": to_plain(model.yaml, "yaml"),
        "names": {int(index): str(name) for index, name in model.names.items()},
        "nc": int(model.nc),
        "stride": [int(stride) for stride in model.stride],
        "imgsz": imgsz,
        "state": {key: _snapshot(key, value, key in in_half) for key, value in model.state_dict().items()},
        "epoch": int(epoch),
        "best_fitness": float(fitness),
        "training": to_plain(training, "training"),
    }


def _snapshot(key: str, value: Tensor, half: bool) -> Tensor:
    """Return the tensor on the CPU, in float32 if floating, with a storage of its own size. Raises: DivergedError."""
    value = value.detach().to("cpu", torch.float32 if value.is_floating_point() else value.dtype)
    if value.is_floating_point() and not torch.isfinite(value).all():
        raise DivergedError(f"the tensor {key} is not finite", LOWER_RATE)
    if half:
        value = _halved(value)
    return value if value.untyped_storage().nbytes() == value.nbytes else value.clone()


def _halved(value: Tensor) -> Tensor:
    """Return the tensor in float16, or as it is where that would hold it too badly: too large, or tiny all over."""
    halved = value.half()
    error = (halved.float() - value).abs().max()
    return halved if error <= HALF_ERROR * value.abs().max() else value


def to_plain(value: Any, where: str) -> Any:
    """Return ``value`` with NumPy scalars as numbers, arrays as lists and paths as text; tensors stay.

    Raises: TypeError with the place of anything else.
    """
    if isinstance(value, dict):
        return {key: to_plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [to_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if value is None or type(value) in (str, int, float, bool):
        return value
    raise TypeError(f"{where}: a {type(value).__name__} cannot be stored in a checkpoint")


def is_native(root: Any) -> bool:
    return isinstance(root, dict) and root.get("format") == FORMAT


def read_native(archive: Archive) -> Checkpoint:
    """Return what ``save_checkpoint`` wrote. Raises: CheckpointError when an entry is missing or of another kind."""
    root, path = archive.root, archive.path
    if root.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: checkpoint version {describe(root.get('version'))}; this code reads version {VERSION}",
            "use the version of this repository that wrote it",
        )
    state = root.get("state")
    if type(state) is not dict or any(type(value) is not TensorRecord for value in state.values()):
        raise CheckpointError(f"{path}: its entry 'state' is not a table of tensors", EDITED)
    entries = {key: _entry(root, key, path) for key in ENTRIES}
    yaml, names = plain(entries["yaml"]), check_names(path, root.get("names"), root.get("nc"))
    if yaml.get("nc") != root.get("nc"):
        raise CheckpointError(
            f"{path}: nc is {describe(root.get('nc'))}, but {describe(yaml.get('nc'))} in its model description", EDITED
        )
    return Checkpoint(
        path=path,
        yaml=yaml,
        names=names,
        state=read_state(archive, state),
        stride=tuple(entries["stride"]),
        epoch=entries["epoch"],
        facts={
            "format": "native",
            "best_fitness": entries["best_fitness"],
            "imgsz": entries["imgsz"],
            "training": plain(entries["training"], tensor=archive.tensor),
        },
    )


def _entry(root: dict, key: str, path: Path) -> Any:
    is_valid, meaning = ENTRIES[key]
    if not is_valid(root.get(key)):
        raise CheckpointError(f"{path}: its entry {key!r} is missing or not {meaning}", EDITED)
    return root.get(key)


def _is_training(value: Any) -> bool:
    """The options, where there are any, give defaults to other commands."""
    options = value.get("opt", {}) if type(value) is dict else None
    return type(options) is dict and type(options.get("data", "")) in (str, type(None))


ENTRIES: dict[str, tuple[Callable[[Any], bool], str]] = {  # key → its check, and what it must be
    "yaml": (lambda value: type(value) is dict, "a mapping"),
    "stride": (lambda value: type(value) is list and all(type(s) is int and s > 0 for s in value), "a list of strides"),
    "imgsz": (lambda value: value is None or (type(value) is int and 0 < value <= MAX_IMGSZ), "a size in pixels"),
    "epoch": (lambda value: type(value) is int and value >= -1, "a whole number from -1"),
    "best_fitness": (lambda value: type(value) is float, "a number"),
    "training": (_is_training, "a mapping whose 'opt' is one, with a text as 'data'"),
}
