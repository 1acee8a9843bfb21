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
    only_file,
    refuse_backbone,
)
from utils.errors import CheckpointError
from utils.pixels import MAX_CHANNELS
from utils.text import one_line

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
    batch, channels, height, width = _sizes(compiled, path)

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(compiled([images.cpu().numpy()])[0].copy())  # it writes the next result there

    network = Network(
        run,
        "OpenVINO",
        batch=batch,
        size=None if height is None or width is None else (height, width),
        channels=channels,
        output=_declared(compiled.output(0)),
    )
    return ExportedBackend(path, device, network, facts, layout)


def _declared(port: openvino.ConstOutput) -> tuple[int | None, ...]:
    """Return the sizes of an input or output, None for an open one."""
    shape = port.get_partial_shape()
    return tuple(None if size.is_dynamic else size.get_length() for size in shape)


def _sizes(compiled: openvino.CompiledModel, path: Path) -> tuple[int | None, ...]:
    """Return B, C, H and W of the input, None for open ones. Raises: CheckpointError for another input."""
    shapes = [_declared(port) for port in compiled.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] not in (None, *range(1, MAX_CHANNELS + 1)):
        raise CheckpointError(f"{path}: takes {shapes} instead of images (B, C, H, W)", OTHER_PROGRAM)
    return shapes[0]
