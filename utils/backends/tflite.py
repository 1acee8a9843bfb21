"""Run a ``.tflite`` file of ours in LiteRT, on the CPU; the facts are in the ZIP archive behind the network.

The file is data: LiteRT knows the operations that a file may name, and refuses others.
"""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from utils.backends.exported import OTHER_PROGRAM, ExportedBackend, Network, image_sizes, refuse_backbone
from utils.checkpoint.export_facts import EXPORT_AGAIN, MAX_METADATA, as_metadata, read_metadata
from utils.checkpoint.facts import read_imgsz
from utils.errors import CheckpointError
from utils.optional_import import import_optional
from utils.text import one_line

RECORD = "metadata.json"


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
    inputs, answer = interpreter.get_input_details(), interpreter.get_output_details()[0]
    types = [np.dtype(port["dtype"]).name for port in inputs]
    batch, channels, *size = image_sizes([port["shape"].tolist() for port in inputs], path, types)
    size = read_imgsz(size, path)
    try:
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: LiteRT refuses it: {one_line(error, 200)}", OTHER_PROGRAM) from error

    def run(images: Tensor) -> Tensor:
        interpreter.set_tensor(inputs[0]["index"], images.cpu().numpy())
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
