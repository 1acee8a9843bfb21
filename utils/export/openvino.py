"""Write a detector for OpenVINO, from its ONNX graph: a folder with the network, its weights, and the facts as YAML."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openvino

from utils.export.compare import RejectedError, reason
from utils.export.int8_openvino import in_int8
from utils.export.order import Order
from utils.yaml_file import write_yaml


def write(order: Order, path: Path) -> str:
    """Write the network into the folder; return what is to be said of it. Raises: RejectedError."""
    try:
        graph = order.with_suppression(order.proven.graph)
        network = openvino.Core().read_model(graph.SerializeToString(), b"")
        if order.int8:
            network = in_int8(network, order.int8.images)
        openvino.save_model(network, path / f"{order.name}.xml", compress_to_fp16=order.half)
    except RuntimeError as error:
        raise RejectedError(f"OpenVINO cannot convert the ONNX graph: {reason(error)}") from error
    return f"written by OpenVINO {openvino.__version__.split('-')[0]}"


def describe(path: Path, facts: Mapping[str, Any]) -> None:
    """Store the facts beside the network."""
    file = next(path.glob("*.xml"))
    write_yaml(file.with_suffix(".yaml"), dict(facts))
