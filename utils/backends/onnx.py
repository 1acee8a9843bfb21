"""Run an ONNX file in ONNX Runtime: ours, or of another program that writes YOLOv5's or YOLOv8's layout."""

import logging
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from utils.checkpoint.onnx_file import EXPORT_AGAIN, OnnxFile, read_facts, read_onnx
from utils.checkpoint.onnx_layout import Shape, ambiguous, fitting, holds_nms, other_layout, possible_layouts
from utils.errors import CheckpointError, ConfigError
from utils.imgsz import MAX_IMGSZ
from utils.pixels import MAX_CHANNELS
from utils.predictions import Layout, Predictions
from utils.text import one_line

log = logging.getLogger(__name__)

INPUT_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
OUTPUT_TYPES = (*INPUT_TYPES, "tensor(double)")
MAX_NUMBERS = 2**31 - 1  # in the batch that a file asks for
_OTHER_PROGRAM = "run it with the program that wrote it; read here is what export.py writes"


class OnnxBackend:
    """An ONNX Runtime session; a batch that is larger than the file's is run in parts."""

    def __init__(
        self,
        path: Path,
        device: torch.device,
        layout: str = "",
        open_session: Callable[[OnnxFile, torch.device], Any] | None = None,
        runtime: str = "ONNX Runtime",
    ) -> None:
        """``open_session`` returns what runs the file in its place, with the methods that are called."""
        self.runtime = runtime
        self.path, self.device = path, device
        file = read_onnx(path)
        self.session = (open_session or _session)(file, device)
        self.input = _check_input(self.session.get_inputs(), path)
        self.output = _check_outputs(self.session.get_outputs(), path)
        facts = self.facts = read_facts(file)
        self.stride, self.names, self.trained = facts.stride, facts.names, facts.trained
        if facts.verification:
            log.info("%s: largest differences from PyTorch when it was exported: %s", path, facts.verification)
        batch, channels, height, width = self.input.shape
        self.fixed_batch = batch if isinstance(batch, int) else None
        self.fixed_size = (height, width) if isinstance(height, int) else None
        self.channels, self.bits = channels if isinstance(channels, int) else 3, facts.bits
        self.layout = self._find_layout(possible_layouts(facts, layout))

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
        self._check_layout(parts[0].shape, [self.layout])
        return Predictions(torch.from_numpy(np.concatenate(parts)).float().to(self.device), self.layout)

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
                f"{self.path}: {self.runtime} cannot run it on images {shape}: {one_line(error, 200)}", EXPORT_AGAIN
            ) from error
        if len(found) != size:
            raise CheckpointError(f"{self.path}: gives {len(found)} results for {size} images", EXPORT_AGAIN)
        return found[:count]

    def _find_layout(self, layouts: Sequence[Layout]) -> Layout:
        """Return the layout of the output. Raises: CheckpointError, ConfigError where it can be more than one."""
        shape = self.output.shape  # empty where the file does not say
        if shape:
            layouts = self._check_layout(shape, layouts)
        if not shape or len(layouts) > 1 or not isinstance(shape[layouts[0].channel_axis], int):
            for cells in (2, 3) if self.fixed_size is None else (2,):  # numbers that agree by chance differ then
                shape = self._try(cells * self.stride).shape
                layouts = self._check_layout(shape, layouts)
        if len(layouts) > 1:
            raise ambiguous(str(self.path), shape, len(self.names))
        return layouts[0]

    def _check_layout(self, shape: Shape, layouts: Sequence[Layout]) -> list[Layout]:
        """Return those ``layouts`` that an output, declared or given, can have.

        Raises: CheckpointError where it has none of them, saying what it is.
        """
        nc = len(self.names)
        possible = [] if holds_nms(shape, nc, self.facts) else fitting(layouts, shape, nc)
        if not possible:
            shown = " × ".join(map(str, shape))
            what = f"{self.path}: its output is {shown} with {nc} classes: {other_layout(shape, nc, self.facts)}"
            raise CheckpointError(what, _OTHER_PROGRAM)
        return possible

    def _try(self, side: int) -> np.ndarray:
        """Run zeros of side × 2·side: what the file leaves open shows only in a result."""
        height, width = self.fixed_size or (side, 2 * side)
        size = self.fixed_batch or 1
        return self._run(np.zeros((size, self.channels, height, width), INPUT_TYPES[self.input.type]), size)


def load(path: Path, device: torch.device, backbone: str = "", layout: str = "") -> OnnxBackend:
    if backbone:
        raise ConfigError(f"--backbone {backbone}: {path} holds its backbone already", "leave --backbone out")
    return OnnxBackend(path, device, layout)


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
        raise CheckpointError(f"{path}: its output is {found} instead of boxes with scores", _OTHER_PROGRAM)
    if any(len(output.shape) == 4 for output in outputs[1:]):
        raise CheckpointError(f"{path}: it also gives masks, as segmentation models do", _OTHER_PROGRAM)
    return outputs[0]
