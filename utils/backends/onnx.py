"""Run an ONNX file in ONNX Runtime: ours, or of another program that writes YOLOv5's or YOLOv8's layout."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from utils.backends.exported import OTHER_PROGRAM, ExportedBackend, Network, image_sizes, refuse_backbone
from utils.checkpoint.export_facts import EXPORT_AGAIN
from utils.checkpoint.onnx_file import OnnxFile, read_facts, read_onnx
from utils.errors import CheckpointError
from utils.text import one_line

log = logging.getLogger(__name__)

INPUT_TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}
OUTPUT_TYPES = (*INPUT_TYPES, "tensor(double)")


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
    inputs = session.get_inputs()
    sizes = image_sizes([port.shape for port in inputs], path, [port.type for port in inputs], INPUT_TYPES)
    output = _check_outputs(session.get_outputs(), path)
    (source,), (batch, channels, height, width) = inputs, sizes

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run([output.name], {source.name: images.cpu().numpy()})[0])

    network = Network(
        run,
        runtime,
        batch=batch,
        size=None if height is None else (height, width),
        channels=channels,
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


def _check_outputs(outputs: Sequence[Any], path: Path) -> Any:
    """Return the predictions among the outputs. Raises: CheckpointError where they are not those of a detector."""
    if not outputs or outputs[0].type not in OUTPUT_TYPES or len(outputs[0].shape) not in (0, 3):
        found = f"{outputs[0].name!r:.40} {outputs[0].type} {outputs[0].shape}" if outputs else "missing"
        raise CheckpointError(f"{path}: its output is {found} instead of boxes with scores", OTHER_PROGRAM)
    if any(len(output.shape) == 4 for output in outputs[1:]):
        raise CheckpointError(f"{path}: it also gives masks, as segmentation models do", OTHER_PROGRAM)
    return outputs[0]
