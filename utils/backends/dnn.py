"""Run an ONNX file of one size in OpenCV, whose dnn module needs no package besides the one that reads images."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import onnx
import torch

from utils.backends.onnx import OnnxBackend
from utils.checkpoint.onnx_file import OnnxFile
from utils.errors import CheckpointError
from utils.text import one_line

_RUN_IN_ORT = "leave --dnn out: ONNX Runtime runs it"


class Port(NamedTuple):
    """An input or output of a graph, as ONNX Runtime describes one."""

    name: str
    shape: list[int | str]
    type: str


class DnnSession:
    """A network of OpenCV with the methods of ONNX Runtime's session that ``OnnxBackend`` calls."""

    def __init__(self, file: OnnxFile, _device: torch.device) -> None:
        graph = onnx.load_model_from_string(file.content).graph
        held = {tensor.name for tensor in graph.initializer}
        self.inputs = [_port(value) for value in graph.input if value.name not in held]
        self.outputs = [_port(value) for value in graph.output]
        if any(not isinstance(size, int) for port in self.inputs for size in port.shape):
            what = f"{file.path}: takes images of any size or number, and OpenCV runs files of one size"
            raise CheckpointError(what, f"{_RUN_IN_ORT}; or export it for one size")
        if any(port.type != "tensor(float)" for port in self.inputs):
            raise CheckpointError(f"{file.path}: takes images of another type than float32", _RUN_IN_ORT)
        try:
            self.net = cv2.dnn.readNetFromONNX(np.frombuffer(file.content, np.uint8))
        except cv2.error as error:
            raise CheckpointError(f"{file.path}: OpenCV cannot read it: {one_line(error, 200)}", _RUN_IN_ORT) from error

    def get_inputs(self) -> list[Port]:
        return self.inputs

    def get_outputs(self) -> list[Port]:
        return self.outputs

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        for name, array in feeds.items():
            self.net.setInput(array, name)
        return [self.net.forward(name) for name in names]


def load(path: Path, layout: str = "") -> OnnxBackend:
    """Return what runs the file at ``path`` on the CPU. Raises: CheckpointError for a file that OpenCV cannot run."""
    return OnnxBackend(path, torch.device("cpu"), layout, DnnSession, "OpenCV")


def _port(value: onnx.ValueInfoProto) -> Port:
    kind = value.type.tensor_type
    names = {onnx.TensorProto.FLOAT: "float", onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.DOUBLE: "double"}
    shape = [size.dim_value if size.HasField("dim_value") else size.dim_param for size in kind.shape.dim]
    return Port(value.name, shape, f"tensor({names.get(kind.elem_type, 'other')})")
