"""Run a package ``.mlpackage`` of ours in CoreML, which macOS alone has, on the CPU; its metadata hold the facts."""

import sys
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.backends.exported import OTHER_PROGRAM, ExportedBackend, Network, refuse_backbone
from utils.checkpoint.export_facts import EXPORT_AGAIN, read_metadata
from utils.checkpoint.facts import read_imgsz
from utils.errors import CheckpointError, ConfigError
from utils.optional_import import import_beside_torch
from utils.pixels import MAX_CHANNELS
from utils.text import one_line

MAX_NUMBERS = 2**31 - 1  # in the batch that a file asks for


def load(path: Path, device: torch.device, backbone: str = "", layout: str = "") -> ExportedBackend:
    """Return the network; ``layout`` as ``utils.backends.choose``. Raises: CheckpointError, ConfigError."""
    refuse_backbone(path, backbone)
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such folder", "check the path; relative paths start at the current folder")
    if sys.platform != "darwin":
        raise ConfigError(f"{path}: CoreML runs on macOS only", "give the .pt it was made from, or run it on a Mac")
    tools = import_beside_torch("coremltools", path)
    try:
        model = tools.models.MLModel(str(path), compute_units=tools.ComputeUnit.CPU_ONLY)
        spec = model.get_spec()
    except Exception as error:  # its errors have no class in common
        raise CheckpointError(f"{path}: CoreML refuses it: {one_line(error, 200)}", EXPORT_AGAIN) from error
    facts = read_metadata(dict(spec.description.metadata.userDefined), path)
    source, answer = spec.description.input, spec.description.output[0].name
    batch, channels, *size = _sizes(source, path)

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(model.predict({source[0].name: images.cpu().numpy()})[answer])

    network = Network(run, "CoreML", batch=batch, size=read_imgsz(size, path), channels=channels)
    return ExportedBackend(path, device, network, facts, layout)


def _sizes(inputs: Any, path: Path) -> list[int]:
    """Return B, C, H and W of the only input. Raises: CheckpointError for another."""
    shapes = [list(map(int, source.type.multiArrayType.shape)) for source in inputs]
    is_batch = len(shapes) == 1 and len(shapes[0]) == 4 and min(shapes[0]) >= 1 and shapes[0][1] <= MAX_CHANNELS
    if not is_batch or prod(shapes[0]) > MAX_NUMBERS:
        raise CheckpointError(f"{path}: takes {shapes[:3]} instead of images (B, C, H, W)", OTHER_PROGRAM)
    return shapes[0]
