"""Run a ``.tflite`` file of ours in LiteRT, on the CPU; the facts are in the ZIP archive behind the network.

The file is data: LiteRT knows the operations that a file may name, and refuses others.
"""

import json
import os
import zipfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from utils.backends.exported import OTHER_PROGRAM, ExportedBackend, Network, refuse_backbone
from utils.checkpoint.export_facts import EXPORT_AGAIN, MAX_METADATA, as_metadata, read_metadata
from utils.checkpoint.facts import read_imgsz
from utils.errors import CheckpointError
from utils.optional_import import import_optional
from utils.pixels import MAX_CHANNELS
from utils.text import one_line

RECORD = "metadata.json"
MAX_NUMBERS = 2**31 - 1  # in the batch that a file asks for


def load(path: Path, device: torch.device, backbone: str = "", layout: str = "") -> ExportedBackend:
    """Return the network on the CPU; ``layout`` as ``utils.backends.choose``. Raises: CheckpointError, ConfigError."""
    refuse_backbone(path, backbone)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file", "check the path; relative paths start at the current folder")
    runtime = import_optional("ai_edge_litert.interpreter", path)
    try:
        interpreter = runtime.Interpreter(os.fspath(path), num_threads=torch.get_num_threads())
    except (ValueError, RuntimeError) as error:
        what = f"{path}: not a LiteRT file, or a damaged one: {one_line(error, 200)}"
        raise CheckpointError(what, EXPORT_AGAIN) from error
    facts = read_metadata(as_metadata(_table(path), path), path)
    source, answer = _only(interpreter.get_input_details(), path), interpreter.get_output_details()[0]
    batch, channels, height, width = map(int, source["shape"])
    size = read_imgsz((height, width), path)
    try:
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: LiteRT refuses it: {one_line(error, 200)}", OTHER_PROGRAM) from error

    def run(images: Tensor) -> Tensor:
        interpreter.set_tensor(source["index"], images.cpu().numpy())
        interpreter.invoke()
        return torch.from_numpy(interpreter.get_tensor(answer["index"]))  # a copy

    output = tuple(map(int, answer["shape"]))
    network = Network(run, "LiteRT", batch=batch, size=size, channels=channels, output=output)
    return ExportedBackend(path, device, network, facts, layout)


def _table(path: Path) -> Any:
    """Return what the record says. Raises: CheckpointError."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(RECORD) as record:
            return json.loads(record.read(MAX_METADATA))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, RuntimeError, RecursionError) as error:
        raise CheckpointError(f"{path}: has no {RECORD} that names stride and classes", OTHER_PROGRAM) from error


def _only(inputs: Sequence[dict[str, Any]], path: Path) -> dict[str, Any]:
    """Return the only input. Raises: CheckpointError unless it is a batch of images (B, C, H, W)."""
    shapes = [list(map(int, source["shape"])) for source in inputs]
    is_batch = len(shapes) == 1 and len(shapes[0]) == 4 and min(shapes[0]) >= 1 and shapes[0][1] <= MAX_CHANNELS
    if not is_batch or inputs[0]["dtype"] is not np.float32 or prod(shapes[0]) > MAX_NUMBERS:
        raise CheckpointError(f"{path}: takes {shapes[:3]} instead of float images (B, C, H, W)", OTHER_PROGRAM)
    return inputs[0]
