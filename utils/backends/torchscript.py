"""Run a TorchScript file: ours, or of another program that writes YOLOv5's or YOLOv8's layout.

The record ``config.txt`` of the archive holds the metadata as JSON; ``shape`` is that of the images
(B, 3, H, W), with ``dynamic`` one of many. A TorchScript file is a program: PyTorch runs it as it is.
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
    batch, size = _shape(table, path)
    is_open = table.get("dynamic") is True
    dtype = torch.float16 if table.get("half") is True else torch.float32

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        found = module(images.to(device))
        return found if isinstance(found, Tensor) else found[0]  # others add their raw maps

    network = Network(run, "PyTorch", batch=None if is_open else batch, size=None if is_open else size, dtype=dtype)
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


def _shape(table: dict[str, Any], path: Path) -> tuple[int, tuple[int, int]]:
    """Return the batch and (height, width). Raises: CheckpointError."""
    shape = table.get("shape")
    if not isinstance(shape, list) or len(shape) != 4 or type(shape[0]) is not int or not 1 <= shape[0] <= 2**16:
        raise CheckpointError(f"{path}: its {RECORD} names no shape of images (B, 3, H, W)", OTHER_PROGRAM)
    return shape[0], read_imgsz(shape[2:], path)
