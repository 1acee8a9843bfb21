"""Run an ONNX file of YOLOv5's layout, output (B, N, 5 + nc), in ONNX Runtime; other layouts are refused by name."""

import logging
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from utils.checkpoint.onnx_file import EXPORT_AGAIN, OnnxFile, read_facts, read_onnx
from utils.errors import CheckpointError, ConfigError
from utils.imgsz import MAX_IMGSZ
from utils.predictions import BN5C, Predictions

log = logging.getLogger(__name__)

INPUT_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
OUTPUT_TYPES = (*INPUT_TYPES, "tensor(double)")
MAX_NUMBERS = 2**31 - 1  # in the batch that a file asks for
ENDS_IN_NMS = frozenset(("NonMaxSuppression", "TopK"))
_OTHER_PROGRAM = "run it with the program that wrote it; read here is (B, N, 5 + classes), as export.py writes it"

Shape = Sequence[int | str | None]  # an open size has a name or none


class OnnxBackend:
    """An ONNX Runtime session; a batch that is larger than the file's is run in parts."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path, self.device = path, device
        file = read_onnx(path)
        self.session = _session(file, device)
        self.input = _check_input(self.session.get_inputs(), path)
        self.output = _check_outputs(self.session.get_outputs(), path)
        facts = read_facts(file)
        self.stride, self.names, self.trained = facts.stride, facts.names, facts.trained
        if facts.verification:
            log.info("%s: largest differences from PyTorch when it was exported: %s", path, facts.verification)
        self.is_foreign = bool(facts.task or file.operators & ENDS_IN_NMS)
        batch, _channels, height, width = self.input.shape
        self.fixed_batch = batch if isinstance(batch, int) else None
        self.fixed_size = (height, width) if isinstance(height, int) else None
        if self.output.shape:  # empty where the file does not say
            self._check_layout(self.output.shape)
        if not self.output.shape or not isinstance(self.output.shape[2], int):
            self._try()

    def __call__(self, images: Tensor) -> Predictions:
        if self.fixed_size not in (None, tuple(images.shape[2:])):
            height, width = self.fixed_size
            raise ConfigError(
                f"{self.path}: takes images of {height}×{width}, not {images.shape[2]}×{images.shape[3]}",
                "give images of that size, or export it anew with export.py --dynamic",
            )
        array = images.cpu().numpy().astype(INPUT_TYPES[self.input.type], order="C", copy=False)
        size = self.fixed_batch or len(array)
        parts = [self._run(array[start : start + size], size) for start in range(0, len(array), size)]
        return Predictions(torch.from_numpy(np.concatenate(parts)).float().to(self.device), BN5C)

    def _run(self, array: np.ndarray, size: int) -> np.ndarray:
        """Return the predictions of at most ``size`` images; missing ones are filled up with zeros."""
        count = len(array)
        if count < size:
            array = np.concatenate((array, np.zeros((size - count, *array.shape[1:]), array.dtype)))
        try:
            found = self.session.run([self.output.name], {self.input.name: array})[0]
        except Exception as error:  # the runtime's errors have no class in common
            shape = "×".join(map(str, array.shape))
            raise CheckpointError(
                f"{self.path}: ONNX Runtime cannot run it on images {shape}: {_reason(error)}", EXPORT_AGAIN
            ) from error
        self._check_layout(found.shape)
        if len(found) != size:
            raise CheckpointError(f"{self.path}: gives {len(found)} results for {size} images", EXPORT_AGAIN)
        return found[:count]

    def _check_layout(self, shape: Shape) -> None:
        """Raises: CheckpointError where an output, declared or given, is not (B, N, 5 + nc), saying what it is."""
        other = other_layout(shape, len(self.names), self.is_foreign)
        if other:
            shown = " × ".join(map(str, shape))
            raise CheckpointError(
                f"{self.path}: its output is {shown} with {len(self.names)} classes: {other}", _OTHER_PROGRAM
            )

    def _try(self) -> None:
        """Run zeros: what the file leaves open shows only in a result."""
        height, width = self.fixed_size or (2 * self.stride, 4 * self.stride)
        size = self.fixed_batch or 1
        self._run(np.zeros((size, 3, height, width), INPUT_TYPES[self.input.type]), size)


def load(path: Path, device: torch.device, backbone: str = "") -> OnnxBackend:
    if backbone:
        raise ConfigError(f"--backbone {backbone}: {path} holds its backbone already", "leave --backbone out")
    return OnnxBackend(path, device)


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
    options.log_severity_level = 4  # what matters is raised
    try:
        return onnxruntime.InferenceSession(file.content, options, providers=providers)
    except Exception as error:  # the runtime's errors have no class in common
        raise CheckpointError(f"{file.path}: ONNX Runtime refuses it: {_reason(error)}", EXPORT_AGAIN) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _check_input(inputs: Sequence[Any], path: Path) -> Any:
    """Return the only input. Raises: CheckpointError unless it is a batch of RGB images that fits into memory."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in INPUT_TYPES:
        found = ", ".join(f"{source.name!r:.40} {source.type} {source.shape}" for source in inputs[:3])
        raise CheckpointError(
            f"{path}: its input is {found or 'missing'} instead of one batch of float images", EXPORT_AGAIN
        )
    shape = inputs[0].shape
    fixed = [size for size in shape if isinstance(size, int)]
    sides = [side for side in shape[2:] if isinstance(side, int)]
    too_large = prod(fixed) > MAX_NUMBERS or max(sides, default=1) > MAX_IMGSZ
    if min(fixed, default=1) < 1 or too_large or (shape[1] != 3 and isinstance(shape[1], int)) or len(sides) == 1:
        raise CheckpointError(
            f"{path}: takes {shape} instead of images (B, 3, H, W), with H and W both fixed or both open", EXPORT_AGAIN
        )
    return inputs[0]


def _check_outputs(outputs: Sequence[Any], path: Path) -> Any:
    """Return the predictions among the outputs. Raises: CheckpointError where they are not those of a detector."""
    if not outputs or outputs[0].type not in OUTPUT_TYPES or len(outputs[0].shape) not in (0, 3):
        found = f"{outputs[0].name!r:.40} {outputs[0].type} {outputs[0].shape}" if outputs else "missing"
        raise CheckpointError(f"{path}: its output is {found} instead of (B, N, 5 + classes)", _OTHER_PROGRAM)
    if any(len(output.shape) == 4 for output in outputs[1:]):
        raise CheckpointError(f"{path}: it also gives masks, as segmentation models do", _OTHER_PROGRAM)
    return outputs[0]


def other_layout(shape: Shape, nc: int, is_foreign: bool) -> str:
    """Return how a shape that is not (B, N, 5 + nc) is called; empty for one that is or may be.

    Numbers can agree by chance: (B, 4 + nc, N) with as many boxes as columns, (B, N, 6) with one class. There the file
    is YOLOv5's unless it ``is_foreign``: names a task, as newer programs do, or holds an operator of NMS.
    """
    if len(shape) != 3:
        return f"{len(shape)} dimensions instead of 3"
    _, rows, columns = shape
    fits = columns == 5 + nc and not is_foreign
    if rows == 4 + nc and not fits:
        return "the layout (B, 4 + classes, N) of YOLOv8 and its relatives, without objectness"
    if columns == 6 and not fits:
        return "the layout (B, N, 6) of files that hold NMS already"
    if columns == 5 + nc or not isinstance(columns, int):
        return ""
    if rows == 5 + nc:
        return "YOLOv5's rows and columns exchanged"
    return f"{columns} columns instead of 5 + {nc}"
