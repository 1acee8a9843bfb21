"""The ONNX graph of a detector, compared with PyTorch.

The graph is traced with open sizes and compared with PyTorch at two of them, so that a size that the trace has frozen
cannot pass; a file for one size is then that graph with its shapes filled in. Only a model that takes one size, or that
no exporter can trace with open sizes in time, is traced for its one size and compared at that. Of the exporters that
write the opset the fastest comes first; what decides is the comparison.
"""

import logging
from dataclasses import dataclass, replace

import onnx

from utils.export.compare import Comparison, RejectedError, check, compare
from utils.export.deployed import Deployed
from utils.export.time_limit import TimeLimitError, time_limit
from utils.export.trace import (
    DEFAULT_OPSET,
    PROGRAM_OPSET,
    Exporter,
    exporters,
    newest_opset,
    trace,
    with_fixed_shape,
)

log = logging.getLogger(__name__)

OPEN_TRACE_S = 120.0  # for some transformers torch.export computes much longer with sizes that it does not know


@dataclass(frozen=True)
class Verified:
    """A graph that was compared with its model."""

    graph: onnx.ModelProto
    opset: int
    comparisons: tuple[Comparison, ...]
    doubt: str = ""  # why it was compared at its own size only


def fitting_size(imgsz: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return height and width rounded up to multiples of the stride."""
    fitted = _rounded_up(imgsz, stride)
    if fitted != tuple(imgsz):
        log.warning("image size %s×%s is no multiple of the stride %d; using %s×%s", *imgsz, stride, *fitted)
    return fitted


def _rounded_up(imgsz: tuple[int, int], stride: int) -> tuple[int, int]:
    height, width = (max(-(-side // stride), 1) * stride for side in imgsz)
    return height, width


def other_shape(shape: tuple[int, ...], stride: int) -> tuple[int, ...]:
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
    other = other_shape(shape, model.detector.size_multiple)
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
