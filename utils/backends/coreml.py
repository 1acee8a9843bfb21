"""Run a package ``.mlpackage`` of ours in CoreML, which macOS alone has, on the CPU; its metadata hold the facts."""

import sys
from pathlib import Path

import torch
from torch import Tensor

from utils.backends.exported import ExportedBackend, Network, image_sizes, refuse_backbone
from utils.checkpoint.export_facts import EXPORT_AGAIN, read_metadata
from utils.checkpoint.facts import read_imgsz
from utils.errors import CheckpointError, ConfigError
from utils.optional_import import import_beside_torch
from utils.text import one_line


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
    inputs, answer = spec.description.input, spec.description.output[0].name
    shapes = [list(map(int, port.type.multiArrayType.shape)) for port in inputs]
    batch, channels, *size = image_sizes(shapes, path)

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(model.predict({inputs[0].name: images.cpu().numpy()})[answer])

    network = Network(run, "CoreML", batch=batch, size=read_imgsz(size, path), channels=channels)
    return ExportedBackend(path, device, network, facts, layout)
