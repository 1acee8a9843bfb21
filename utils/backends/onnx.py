"""Run an ONNX file in ONNX Runtime: ours, or of another program that writes YOLOv5's or YOLOv8's layout."""

import logging
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from utils.backends.exported import OTHER_PROGRAM, ExportedBackend, Network, refuse_backbone
from utils.checkpoint.export_facts import EXPORT_AGAIN
from utils.checkpoint.onnx_file import OnnxFile, read_facts, read_onnx
from utils.errors import CheckpointError
from utils.imgsz import MAX_IMGSZ
from utils.pixels import MAX_CHANNELS
from utils.text import one_line

log = logging.getLogger(__name__)

INPUT_TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}
OUTPUT_TYPES = (*INPUT_TYPES, "tensor(double)")
MAX_NUMBERS = 2**31 - 1  # in the batch that a file asks for


def load(path: Path, device: torch.device, backbone: str = "", layout: str = "") -> ExportedBackend:
    """Return a session over the file; ``layout`` as ``utils.backends.choose``. Raises: CheckpointError, ConfigError."""
    refuse_backbone(path, backbone)
    return open_file(path, device, layout, _session, "ONNX Runtime")


def open_file(
    path: Path, device: torch.device, layout: str, open_session: Callable[[OnnxFile, torch.device], Any], runtime: str
) -> ExportedBackend:
    """Return what runs the file: ``open_session`` gives a session, of ONNX Runtime or with those of its methods."""
    file = read_onnx(path)
    session = open_session(file, device)
    source = _check_input(session.get_inputs(), path)
    output = _check_outputs(session.get_outputs(), path)
    batch, channels, height, width = source.shape

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run([output.name], {source.name: images.cpu().numpy()})[0])

    network = Network(
        run,
        runtime,
        batch=batch if isinstance(batch, int) else None,
        size=(height, width) if isinstance(height, int) else None,
        channels=channels if isinstance(channels, int) else None,
        output=output.shape,  # empty where the file does not say
        dtype=INPUT_TYPES[source.type],
    )
    return ExportedBackend(path, device, network, read_facts(file), layout)


def _session(file: OnnxFile, device: torch.device) -> onnxruntime.InferenceSession:
    """Return a session over the bytes that were looked through. Raises: CheckpointError."""
    providers = ["CPUExecutionProvider"]
    if device.type == "cuda":
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, "CUDAExecutionProvider")
        else:
            log.warning("%s runs on the CPU: this onnxruntime has no CUDA; onnxruntime-gpu has", file.path)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.load_model_format", "ONNX")  # else it may see its own in the same bytes
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # its threads sleep between two images
    options.intra_op_num_threads = torch.get_num_threads()  # as all backends; it does not know OMP_NUM_THREADS
    options.log_severity_level = 4  # what matters is raised
    try:
        return onnxruntime.InferenceSession(file.content, options, providers=providers)
    except Exception as error:  # the runtime's errors have no class in common
        raise CheckpointError(f"{file.path}: ONNX Runtime refuses it: {one_line(error, 200)}", EXPORT_AGAIN) from error


def _check_input(inputs: Sequence[Any], path: Path) -> Any:
    """Return the only input. Raises: CheckpointError unless it is a batch of images that fits into memory."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in INPUT_TYPES:
        found = ", ".join(f"{source.name!r:.40} {source.type} {source.shape}" for source in inputs[:3])
        raise CheckpointError(
            f"{path}: its input is {found or 'missing'} instead of one batch of float images", EXPORT_AGAIN
        )
    shape = inputs[0].shape
    fixed = [size for size in shape if isinstance(size, int)]
    sides = [side for side in shape[2:] if isinstance(side, int)]
    too_large = prod(fixed) > MAX_NUMBERS or max(sides, default=1) > MAX_IMGSZ
    too_large = too_large or (isinstance(shape[1], int) and shape[1] > MAX_CHANNELS)
    if min(fixed, default=1) < 1 or too_large or len(sides) == 1:
        raise CheckpointError(
            f"{path}: takes {shape} instead of images (B, C, H, W), with H and W both fixed or both open", EXPORT_AGAIN
        )
    return inputs[0]


def _check_outputs(outputs: Sequence[Any], path: Path) -> Any:
    """Return the predictions among the outputs. Raises: CheckpointError where they are not those of a detector."""
    if not outputs or outputs[0].type not in OUTPUT_TYPES or len(outputs[0].shape) not in (0, 3):
        found = f"{outputs[0].name!r:.40} {outputs[0].type} {outputs[0].shape}" if outputs else "missing"
        raise CheckpointError(f"{path}: its output is {found} instead of boxes with scores", OTHER_PROGRAM)
    if any(len(output.shape) == 4 for output in outputs[1:]):
        raise CheckpointError(f"{path}: it also gives masks, as segmentation models do", OTHER_PROGRAM)
    return outputs[0]
