"""Run a folder ``NAME_openvino_model`` in OpenVINO: ours, or of another program that writes YOLOv5's layout.

In it are a network, ``.xml`` with its weights in ``.bin``, and ``.yaml``, which holds the metadata.
"""

from pathlib import Path

import openvino
import torch
from torch import Tensor

from utils.backends.exported import (
    OTHER_PROGRAM,
    ExportedBackend,
    Network,
    facts_beside,
    image_sizes,
    only_file,
    refuse_backbone,
)
from utils.errors import CheckpointError
from utils.text import one_line

FLOATS = {"f32", "f16"}  # types of inputs; it converts by itself, which makes zeros of images for integers
EXACT = {"INFERENCE_PRECISION_HINT": "f32"}  # some processors compute in bfloat16 otherwise, and find other boxes


def load(path: Path, device: torch.device, backbone: str = "", layout: str = "") -> ExportedBackend:
    """Return the network on the CPU; ``layout`` as ``utils.backends.choose``. Raises: CheckpointError, ConfigError."""
    refuse_backbone(path, backbone)
    file = only_file(path, "xml")
    facts = facts_beside(file, OTHER_PROGRAM)
    threads = {"INFERENCE_NUM_THREADS": torch.get_num_threads()}  # as all backends; it does not know OMP_NUM_THREADS
    try:
        compiled = openvino.Core().compile_model(file, "CPU", EXACT | threads)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: OpenVINO refuses it: {one_line(error, 200)}", OTHER_PROGRAM) from error
    types = [port.get_element_type().get_type_name() for port in compiled.inputs]
    batch, channels, height, width = image_sizes([*map(_declared, compiled.inputs)], path, types, FLOATS)

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(compiled([images.cpu().numpy()])[0].copy())  # it writes the next result there

    network = Network(
        run,
        "OpenVINO",
        batch=batch,
        size=None if height is None else (height, width),
        channels=channels,
        output=_declared(compiled.output(0)),
    )
    return ExportedBackend(path, device, network, facts, layout)


def _declared(port: openvino.ConstOutput) -> tuple[int | None, ...]:
    """Return the sizes of an input or output, None for an open one."""
    shape = port.get_partial_shape()
    return tuple(None if size.is_dynamic else size.get_length() for size in shape)
