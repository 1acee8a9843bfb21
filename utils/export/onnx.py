"""Export a detector to one ONNX file and prove that ONNX Runtime computes the same with it.

Input ``images`` (B, C, H, W) float32 in 0–1, of three channels RGB; output ``output0`` in the layout of the head
(``utils.predictions``): cxcywh in pixels, then probabilities; or, with suppression, in that of
``utils.export.suppress``. The metadata are those of ``utils.export.facts``, as text.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from utils.errors import ExportError
from utils.export.compare import BOX_TOLERANCE, INPUT, SCORE_TOLERANCE, Comparison, RejectedError
from utils.export.deployed import deployable
from utils.export.facts import facts_of
from utils.export.graph import fitting_size, remedy
from utils.export.order import Order
from utils.export.trace import oldest_runtime, open_input
from utils.runs import atomic_write


def write(order: Order, path: Path) -> str:
    """Write the graph of the order; return what is to be said of it. Raises: RejectedError."""
    graph = order.final_graph()
    _save(graph, path)
    nodes, opset, ir = len(graph.graph.node), order.proven.opset, graph.ir_version
    return f"{nodes} nodes, opset {opset}, IR {ir}" if order.int8 else about(nodes, opset, ir)  # tried in float32 only


def describe(path: Path, facts: Mapping[str, Any]) -> None:
    """Store the facts in the file, in place."""
    graph = onnx.load_model(path)
    _store(graph, facts)
    _save(graph, path)


def _save(graph: onnx.ModelProto, path: Path) -> None:
    onnx.checker.check_model(graph)
    onnx.save_model(graph, path)


def _store(graph: onnx.ModelProto, facts: Mapping[str, Any]) -> None:
    """Store the facts as metadata, in place; the names as YOLOv5 writes them."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
    onnx.helper.set_model_props(graph, texts | {"names": str(facts["names"])})


def about(nodes: int, opset: int, ir: int) -> str:
    """Say what a graph is like and what reads it."""
    runtime = oldest_runtime(opset)
    readers = f" (ONNX Runtime {runtime} and newer)" if runtime else ""
    return f"{nodes} nodes, opset {opset}, IR {ir}{readers}"


@dataclass(frozen=True)
class ExportReport:
    path: Path
    input_shape: tuple[int | str, ...]
    opset: int
    ir: int  # version of the file format
    nodes: int
    megabytes: float
    comparisons: tuple[Comparison, ...]

    def lines(self) -> list[str]:
        """Return the report as text."""
        shape = "×".join(map(str, self.input_shape))
        size = f"{about(self.nodes, self.opset, self.ir)}, {self.megabytes:.1f} MB"
        limits = f"limits {BOX_TOLERANCE:g} px, {SCORE_TOLERANCE:g}"
        return [
            f"{self.path}: {INPUT} {shape}, {size}",
            f"largest differences between ONNX Runtime and PyTorch ({limits}):",
            *(f"  {comparison.line()}" for comparison in self.comparisons),
        ]


def export_onnx(
    model: nn.Module,
    path: str | Path,
    imgsz: tuple[int, int] = (640, 640),
    batch: int = 1,
    dynamic: bool = False,
    opset: int | None = None,
    data: str | None = None,
) -> ExportReport:
    """Write the model, fused, as one ONNX file, for one batch and image size or for any if ``dynamic``.

    Without an ``opset`` it is 17, or 18 for a model that is written in that only. ``data`` is the data set that the
    model was trained on. The model itself stays as it is. Raises: ExportError, with what works instead, when it cannot
    be exported or ONNX Runtime disagrees with PyTorch; nothing is written then.
    """
    if batch < 1 or min(imgsz) < 1:
        raise ExportError(
            f"a batch of {batch} images of {imgsz[0]}×{imgsz[1]} pixels is empty", "give positive numbers"
        )
    deployed = deployable(model)
    detector = deployed.detector
    shape = (batch, detector.yaml["ch"], *fitting_size(imgsz, detector.size_multiple))
    order = Order(deployed, shape, dynamic=dynamic, opset=opset, data=data)
    try:
        proven = order.proven
    except RejectedError as error:
        raise ExportError(f"{path}: not written: {error}", remedy(deployed, shape, opset, dynamic)) from error
    graph = proven.graph
    _store(graph, facts_of(order, deployed.layout, proven.comparisons))
    with atomic_write(path) as temporary:
        _save(graph, temporary)
        megabytes = temporary.stat().st_size / 1e6
    return ExportReport(
        path=Path(path),
        input_shape=open_input(shape[1]) if dynamic else shape,
        opset=proven.opset,
        ir=graph.ir_version,
        nodes=len(graph.graph.node),
        megabytes=megabytes,
        comparisons=proven.comparisons,
    )
