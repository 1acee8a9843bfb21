"""Export a detector to one ONNX file and prove that ONNX Runtime computes the same with it.

Input ``images`` (B, C, H, W) float32 in 0–1, of three channels RGB; output ``output0`` in the layout of the head
(``utils.predictions``): cxcywh in pixels, then probabilities. Metadata, all of which ``utils.checkpoint.onnx_file``
reads: ``stride``, ``names`` (as YOLOv5 writes them), ``layout``, ``imgsz`` and ``verification`` (JSON), ``data``, the
data set of the training, where it is known, and ``bits``, where its images had 16.

The graph is traced with open sizes and compared with PyTorch at two of them, so that a size that the trace has frozen
cannot pass; a file for one size is then that graph with its shapes filled in. Only a model that takes one size, or that
no exporter can trace with open sizes in time, is traced for its one size and compared at that. Of the exporters that
write the opset the fastest comes first; what decides is the comparison.
"""

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import onnx
from torch import nn

from utils.errors import ExportError
from utils.export.compare import (
    BOX_TOLERANCE,
    INPUT,
    SCORE_TOLERANCE,
    Comparison,
    RejectedError,
    check,
    compare,
)
from utils.export.deployed import Deployed, deployable
from utils.export.time_limit import TimeLimitError, time_limit
from utils.export.trace import (
    DEFAULT_OPSET,
    PROGRAM_OPSET,
    Exporter,
    exporters,
    newest_opset,
    oldest_runtime,
    open_input,
    trace,
    with_fixed_shape,
)
from utils.predictions import B4CN
from utils.runs import atomic_write
from utils.text import counted

log = logging.getLogger(__name__)

OPEN_TRACE_S = 120.0  # for some transformers torch.export computes much longer with sizes that it does not know


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
        runtime = oldest_runtime(self.opset)
        readers = f" (ONNX Runtime {runtime} and newer)" if runtime else ""
        size = f"{self.nodes} nodes, opset {self.opset}, IR {self.ir}{readers}, {self.megabytes:.1f} MB"
        limits = f"limits {BOX_TOLERANCE:g} px, {SCORE_TOLERANCE:g}"
        return [
            f"{self.path}: {INPUT} {shape}, {size}",
            f"largest differences between ONNX Runtime and PyTorch ({limits}):",
            *(f"  {comparison.line()}" for comparison in self.comparisons),
        ]


@dataclass(frozen=True)
class Verified:
    """A graph that was compared with its model."""

    graph: onnx.ModelProto
    opset: int
    comparisons: tuple[Comparison, ...]
    doubt: str = ""  # why it was compared at its own size only


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
    try:
        proven = verified(deployed, shape, opset, dynamic)
    except RejectedError as error:
        raise ExportError(f"{path}: not written: {error}", remedy(deployed, shape, opset, dynamic)) from error
    if proven.doubt:
        log.warning("exported for %d×%d only, not compared at another size: %s", *shape[2:], proven.doubt)
    graph = proven.graph
    _describe(proven, detector, shape, data)
    onnx.checker.check_model(graph)
    with atomic_write(path) as temporary:
        onnx.save_model(graph, temporary)
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


def fitting_size(imgsz: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return height and width rounded up to multiples of the stride."""
    fitted = _rounded_up(imgsz, stride)
    if fitted != tuple(imgsz):
        log.warning("image size %s×%s is no multiple of the stride %d; using %s×%s", *imgsz, stride, *fitted)
    return fitted


def _rounded_up(imgsz: tuple[int, int], stride: int) -> tuple[int, int]:
    height, width = (max(-(-side // stride), 1) * stride for side in imgsz)
    return height, width


def _other_shape(shape: tuple[int, ...], stride: int) -> tuple[int, ...]:
    """Return a batch of another size, neither square nor of one image, for the trace and the second comparison."""
    batch, channels, height, width = shape
    half_height, half_width = _rounded_up((height // 2, width // 2), stride)
    other = (batch + 1, channels, half_height + stride, half_width + 2 * stride)
    return other if other[2:] != (height, width) else (*other[:3], width + stride)


def verified(model: Deployed, shape: tuple[int, ...], opset: int | None, dynamic: bool) -> Verified:
    """Return a graph that computes what the model does, by the first exporter that writes one.

    Raises: RejectedError.
    """
    failure = ""
    for exporter, written in exporters(opset):
        try:
            return _verified_at_two_sizes(exporter, model, shape, written, dynamic)
        except (RejectedError, TimeLimitError) as error:
            failure = str(error)
        if dynamic:
            continue
        try:
            return replace(_verified_at_one_size(exporter, model, shape, written), doubt=failure)
        except RejectedError as error:
            failure = str(error)
    raise RejectedError(failure)


def _verified_at_two_sizes(
    exporter: Exporter, model: Deployed, shape: tuple[int, ...], opset: int, dynamic: bool
) -> Verified:
    other = _other_shape(shape, model.detector.size_multiple)
    with time_limit(None if dynamic else OPEN_TRACE_S):
        graph = _traced(exporter, model, other, opset, open_sizes=True)
    comparison = check(compare(graph, model, other))
    if not dynamic:
        graph = with_fixed_shape(graph, shape)
    return Verified(graph, opset, (comparison, check(compare(graph, model, shape))))


def _verified_at_one_size(exporter: Exporter, model: Deployed, shape: tuple[int, ...], opset: int) -> Verified:
    graph = with_fixed_shape(_traced(exporter, model, shape, opset, open_sizes=False), shape)
    return Verified(graph, opset, (check(compare(graph, model, shape)),))


def _traced(
    exporter: Exporter, model: Deployed, shape: tuple[int, ...], opset: int, open_sizes: bool
) -> onnx.ModelProto:
    try:
        graph = trace(exporter, model, shape, opset, open_sizes=open_sizes)
    except RejectedError as error:
        sizes = "with open sizes" if open_sizes else f"for {shape[2]}×{shape[3]}"
        raise RejectedError(f"cannot be exported in opset {opset} {sizes}: {error}") from error
    _strip_trace(graph)
    return graph


def remedy(model: Deployed, shape: tuple[int, ...], opset: int | None, dynamic: bool) -> str:
    """Return what was tried and works instead of a refused export."""
    log.info("looking for what works instead")
    if dynamic and _works(model, shape, opset, False):
        return "leave --dynamic out"
    for other in _other_opsets(opset):
        if _works(model, shape, other, dynamic):
            return f"use --opset {other}, the nearest that works"
    return "use the .pt file, or another backbone"


def _other_opsets(opset: int | None) -> range:
    """Return the opsets to try in place of one: up or down to one that the other exporter writes."""
    if opset is None:
        return range(0)
    if opset < PROGRAM_OPSET:
        return range(opset + 1, PROGRAM_OPSET + 1)
    return range(newest_opset(opset), DEFAULT_OPSET - 1, -1)


def _works(model: Deployed, shape: tuple[int, ...], opset: int | None, dynamic: bool) -> bool:
    try:
        verified(model, shape, opset, dynamic)
    except RejectedError:
        return False
    return True


def _strip_trace(graph: onnx.ModelProto) -> None:
    """Remove, in place, the notes of the tracer: source lines, module paths and symbols of the machine it ran on."""
    parts = graph.graph
    for part in (graph, parts, *parts.node, *parts.input, *parts.output, *parts.value_info, *parts.initializer):
        del part.metadata_props[:]


def _describe(proven: Verified, model: nn.Module, shape: tuple[int, ...], data: str | None) -> None:
    """Store in the file what a reader of it needs to know, in place."""
    metadata = {
        "stride": str(model.size_multiple),
        "names": str(dict(model.names)),
        "layout": model.head.layout.name,
        "imgsz": json.dumps(shape[2:]),
        "input": _expected_input(model),
        "verification": json.dumps([asdict(comparison) for comparison in proven.comparisons]),
    }
    if "bits" in model.yaml:
        metadata["bits"] = str(model.yaml["bits"])
    if model.head.layout == B4CN:  # what readers of YOLOv8's files look for
        metadata |= {"task": "detect", "batch": str(shape[0]), "channels": str(shape[1])}
    onnx.helper.set_model_props(proven.graph, metadata | ({"data": data} if data else {}))


def _expected_input(model: nn.Module) -> str:
    """Say what images the file takes, and that it normalises them by itself where it does."""
    facts, channels = model.yaml.get("normalize"), model.yaml["ch"]
    images = f"{'RGB' if channels == 3 else counted(channels, 'channel')}, 0 to 1"
    return f"{images}; normalized inside, by mean {facts['mean']} and std {facts['std']}" if facts else images
