"""Run a TorchScript file: ours, or of another program that writes YOLOv5's or YOLOv8's layout.

The record ``config.txt`` of the archive holds the metadata as JSON; ``shape`` is that of the images
(B, C, H, W), with ``dynamic`` one of many. A TorchScript file is a program: PyTorch runs it as it is.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.backends.exported import OTHER_PROGRAM, ExportedBackend, Network, refuse_backbone
from utils.checkpoint.export_facts import as_metadata, read_metadata
from utils.checkpoint.facts import read_imgsz
from utils.errors import CheckpointError
from utils.pixels import MAX_CHANNELS
from utils.text import one_line

RECORD = "config.txt"


def load(path: Path, device: torch.device, backbone: str = "", layout: str = "") -> ExportedBackend:
    """Return the module of the file; ``layout`` as ``utils.backends.choose``. Raises: CheckpointError, ConfigError."""
    refuse_backbone(path, backbone)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file", "check the path; relative paths start at the current folder")
    records = {RECORD: ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PyTorch has a newer format
            module = torch.jit.load(path, map_location=device, _extra_files=records)
    except (RuntimeError, ValueError, OSError) as error:
        what = f"{path}: not a TorchScript file, or a damaged one: {one_line(error, 200)}"
        raise CheckpointError(what, "export the model again with export.py") from error
    table = _table(records[RECORD], path)
    batch, channels, size = _shape(table, path)
    is_open = table.get("dynamic") is True
    dtype = torch.float16 if table.get("half") is True else torch.float32

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        found = module(images.to(device))
        return found if isinstance(found, Tensor) else found[0]  # others add their raw maps

    fixed = {} if is_open else {"batch": batch, "size": size}
    network = Network(run, "PyTorch", channels=channels, dtype=dtype, **fixed)
    return ExportedBackend(path, device, network, read_metadata(as_metadata(table, path), path), layout)


def _table(text: bytes | str, path: Path) -> dict[str, Any]:
    """Return what the record says. Raises: CheckpointError."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: has no {RECORD} that names stride and classes", OTHER_PROGRAM) from error
    if not isinstance(table, dict):
        raise CheckpointError(f"{path}: has no {RECORD} that names stride and classes", OTHER_PROGRAM)
    return table


def _shape(table: dict[str, Any], path: Path) -> tuple[int, int, tuple[int, int]]:
    """Return the batch, the channels and (height, width). Raises: CheckpointError."""
    shape = table.get("shape")
    is_shape = isinstance(shape, list) and len(shape) == 4 and all(type(size) is int for size in shape[:2])
    if not is_shape or not 1 <= shape[0] <= 2**16 or not 1 <= shape[1] <= MAX_CHANNELS:
        raise CheckpointError(f"{path}: its {RECORD} names no shape of images (B, C, H, W)", OTHER_PROGRAM)
    return shape[0], shape[1], read_imgsz(shape[2:], path)
