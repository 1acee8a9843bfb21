"""Run an ONNX file in ONNX Runtime; the file must say its stride and class names, as ``export.py`` writes them."""

import ast
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from google.protobuf.message import DecodeError
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors
from torch import Tensor

from utils.checkpoint.container import other_kind
from utils.checkpoint.content import check_names
from utils.errors import CheckpointError, ConfigError

log = logging.getLogger(__name__)

MAX_METADATA = 100_000  # characters
INPUT_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_RUNTIME_ERRORS = tuple(
    getattr(runtime_errors, name)
    for name in ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
)
_EXPORT_AGAIN = "export the model again with export.py"


class OnnxBackend:
    """An ONNX Runtime session; a batch that is larger than the file's is run in parts."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path, self.device = path, device
        self.session = _session(path, device)
        self.input, self.output = _interface(self.session, path)
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.stride = _read_stride(metadata, path)
        self.names = _read_names(metadata, self.output.shape[2], path)
        batch, _channels, height, width = self.input.shape
        self.fixed_batch = batch if isinstance(batch, int) else None
        self.fixed_size = (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def __call__(self, images: Tensor) -> Tensor:
        if self.fixed_size not in (None, tuple(images.shape[2:])):
            height, width = self.fixed_size
            raise ConfigError(
                f"{self.path}: takes images of {height}×{width}, not {images.shape[2]}×{images.shape[3]}",
                f"use --img {height} {width}, or export it anew with export.py --dynamic",
            )
        array = images.cpu().numpy().astype(INPUT_TYPES[self.input.type], order="C", copy=False)
        size = self.fixed_batch or len(array)
        parts = [self._run(array[start : start + size], size) for start in range(0, len(array), size)]
        return torch.from_numpy(np.concatenate(parts)).float().to(self.device)

    def _run(self, array: np.ndarray, size: int) -> np.ndarray:
        """Return the predictions of at most ``size`` images; missing ones are filled up with zeros."""
        count = len(array)
        if count < size:
            array = np.concatenate((array, np.zeros((size - count, *array.shape[1:]), array.dtype)))
        return self.session.run([self.output.name], {self.input.name: array})[0][:count]


def load(path: Path, device: torch.device, backbone: str = "") -> OnnxBackend:
    if backbone:
        raise ConfigError(f"--backbone {backbone}: {path} holds its backbone already", "leave --backbone out")
    return OnnxBackend(path, device)


def _session(path: Path, device: torch.device) -> onnxruntime.InferenceSession:
    """Return a session over a file without references to others. Raises: CheckpointError."""
    content = _read(path)
    providers = ["CPUExecutionProvider"]
    if device.type == "cuda":
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, "CUDAExecutionProvider")
        else:
            log.warning("%s runs on the CPU: this onnxruntime has no CUDA; onnxruntime-gpu has", path)
    try:
        return onnxruntime.InferenceSession(content, providers=providers)
    except _RUNTIME_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: ONNX Runtime refuses it: {reason}", _EXPORT_AGAIN) from error


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file", "check the path; relative paths start at the current folder")
    content = path.read_bytes()
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        model = onnx.ModelProto()
    if not model.graph.node:
        what, fix = other_kind(content, "an ONNX file")
        raise CheckpointError(f"{path}: {what}", fix)
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    if any(tensor.external_data for tensor in [*model.graph.initializer, *_constants(nodes)]):
        raise CheckpointError(f"{path}: keeps weights in other files, which are not read", "save it as a single file")
    return content


def _constants(nodes: Any) -> Iterator[onnx.TensorProto]:
    """Yield the tensors inside nodes, those of nested graphs included."""
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for graph in (attribute.g, *attribute.graphs):
                yield from graph.initializer
                yield from _constants(graph.node)


def _interface(session: onnxruntime.InferenceSession, path: Path) -> tuple[Any, Any]:
    """Return input and output. Raises: CheckpointError unless they are images and predictions of a detector."""
    source, target = session.get_inputs()[0], session.get_outputs()[0]
    if len(session.get_inputs()) != 1 or len(source.shape) != 4 or source.type not in INPUT_TYPES:
        raise CheckpointError(
            f"{path}: its input {source.name} is {source.type} {source.shape} instead of one batch of float images"
        )
    if len(target.shape) != 3:
        raise CheckpointError(f"{path}: its output {target.name} is {target.shape} instead of (B, N, 5 + classes)")
    return source, target


def _read_stride(metadata: dict[str, str], path: Path) -> int:
    text = metadata.get("stride", "")
    if not text.isdecimal() or not 1 <= int(text[:9]) <= 1024:
        raise CheckpointError(f"{path}: its metadata name the stride {text[:20]!r}", _EXPORT_AGAIN)
    return int(text)


def _read_names(metadata: dict[str, str], outputs: int | str | None, path: Path) -> dict[int, str]:
    """Return the class names, written as JSON or as a Python dictionary or list of literals."""
    text = metadata.get("names", "")
    if not text or len(text) > MAX_METADATA:
        raise CheckpointError(f"{path}: its metadata hold {len(text)} characters of class names", _EXPORT_AGAIN)
    try:
        names = _parse(text)
        items = names.items() if isinstance(names, dict) else enumerate(names)
        names = {int(index): str(name) for index, name in items}
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"{path}: its class names are no table of names", _EXPORT_AGAIN) from error
    return check_names(path, names, outputs - 5 if isinstance(outputs, int) else len(names))


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return ast.literal_eval(text)
