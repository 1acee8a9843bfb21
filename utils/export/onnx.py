"""Export a detector to one ONNX file and prove that ONNX Runtime computes the same with it.

Input ``images`` (B, 3, H, W) float32 in 0–1; output ``output0`` (B, N, 5 + nc): cxcywh in pixels, then probabilities.
Metadata: ``stride``, ``names`` (as YOLOv5 writes them), ``imgsz`` and ``verification`` (JSON).

The graph is traced with open sizes and compared with PyTorch at two of them, so that a size that the trace has frozen
cannot pass; a file for one size is then that graph with its shapes filled in. Only a model that takes one size, or that
the exporter cannot trace with open sizes in a few minutes, is traced for its one size and compared at that.
"""

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx
import torch
from onnxscript import optimizer
from torch import nn

from utils.errors import ExportError
from utils.export.time_limit import TimeLimitError, time_limit
from utils.export.verify import (
    BOX_TOLERANCE,
    INPUT,
    OUTPUT,
    SCORE_TOLERANCE,
    Comparison,
    check,
    compare,
    reason,
)
from utils.runs import atomic_write

log = logging.getLogger(__name__)

OPEN_TRACE_S = 120.0  # for some transformers the exporter computes much longer with sizes that it does not know
OPEN_INPUT = ("batch", 3, "height", "width")


@dataclass(frozen=True)
class ExportReport:
    path: Path
    input_shape: tuple[int | str, ...]
    opset: int
    nodes: int
    megabytes: float
    comparisons: tuple[Comparison, ...]

    def lines(self) -> list[str]:
        """Return the report as text."""
        shape = "×".join(map(str, self.input_shape))
        size = f"{self.nodes} nodes, opset {self.opset}, {self.megabytes:.1f} MB"
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
    opset: int = 18,
) -> ExportReport:
    """Write the model, fused, as one ONNX file, for one batch and image size or for any if ``dynamic``.

    The model itself stays as it is. Raises: ExportError when it cannot be exported or ONNX Runtime disagrees with
    PyTorch; nothing is written then.
    """
    if batch < 1 or min(imgsz) < 1:
        raise ExportError(
            f"a batch of {batch} images of {imgsz[0]}×{imgsz[1]} pixels is empty", "give positive numbers"
        )
    deployed = deployable(model)
    stride = deployed.size_multiple
    shape = (batch, deployed.yaml.get("ch", 3), *fitting_size(imgsz, stride))
    graph, comparisons = _traced(deployed, _other_shape(shape, stride), shape, opset, dynamic)
    if not dynamic:
        graph = with_fixed_shape(graph, shape)
    comparisons.append(compare(graph, deployed, shape))
    check_opset(graph, opset)
    check(comparisons, path)
    _strip_trace(graph)
    _describe(graph, deployed, shape, stride, comparisons)
    onnx.checker.check_model(graph)
    with atomic_write(path) as temporary:
        onnx.save_model(graph, temporary)
        megabytes = temporary.stat().st_size / 1e6
    return ExportReport(
        path=Path(path),
        input_shape=OPEN_INPUT if dynamic else shape,
        opset=opset,
        nodes=len(graph.graph.node),
        megabytes=megabytes,
        comparisons=tuple(comparisons),
    )


def deployable(model: nn.Module) -> nn.Module:
    """Return a copy that computes predictions alone: float32, on the CPU, in eval mode, fused."""
    deployed = copy.deepcopy(model).cpu().float().to(memory_format=torch.contiguous_format).eval()
    deployed.fuse()
    deployed.head.export = True
    for module in deployed.modules():
        if getattr(module, "fused_attn", False):  # timm's switch: the exporter has fused attention for 4-D tensors only
            module.fused_attn = False
    return deployed.requires_grad_(False)


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


def _traced(
    model: nn.Module, other: tuple[int, ...], shape: tuple[int, ...], opset: int, dynamic: bool
) -> tuple[onnx.ModelProto, list[Comparison]]:
    """Return the graph with open sizes, compared at ``other``, else that for ``shape`` only, not compared yet."""
    try:
        with time_limit(None if dynamic else OPEN_TRACE_S):
            graph = trace(model, other, opset, open_sizes=True)
        return graph, [compare(graph, model, other)]
    except (torch.onnx.errors.OnnxExporterError, TimeLimitError) as error:
        if dynamic:
            raise ExportError(f"cannot be exported with open sizes: {reason(error)}", "leave --dynamic out") from error
        log.warning("exporting for %d×%d only, not compared at another size: %s", *shape[2:], reason(error))
    try:
        graph = trace(model, shape, opset, open_sizes=False)
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(f"cannot be exported to ONNX: {reason(error)}") from error
    return graph, []


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Hold back what PyTorch's exporter and its libraries say about their own internals."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def trace(model: nn.Module, shape: tuple[int, ...], opset: int, open_sizes: bool) -> onnx.ModelProto:
    """Return the ONNX graph of the model, traced with zeros of ``shape``. Raises: OnnxExporterError.

    Open sizes are multiples of the stride: knowing that, the exporter can compute the sizes of all maps in advance.
    """
    stride = model.size_multiple
    batch, rows, columns = (torch.export.Dim(name, min=1) for name in ("batch", "rows", "columns"))
    open_dims = {0: batch, 2: stride * rows, 3: stride * columns}
    with quiet_exporter():
        program = torch.onnx.export(
            model,
            (torch.zeros(shape),),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=opset,
            dynamo=True,
            dynamic_shapes=(open_dims,) if open_sizes else None,
            verbose=False,
        )
    graph = program.model_proto
    if open_sizes:
        _name_sizes(graph.graph.input[0], OPEN_INPUT)
        _name_sizes(graph.graph.output[0], ("batch", "anchors", model.head.no))
    del graph.graph.value_info[:]  # sizes of every map as formulas over the trace's own symbols
    return graph


def _name_sizes(value: onnx.ValueInfoProto, sizes: tuple[int | str, ...]) -> None:
    for dim, size in zip(value.type.tensor_type.shape.dim, sizes, strict=True):
        dim.Clear()
        setattr(dim, "dim_value" if isinstance(size, int) else "dim_param", size)


def with_fixed_shape(graph: onnx.ModelProto, shape: tuple[int, ...]) -> onnx.ModelProto:
    """Return the graph for one input shape, with all that follows from the shape computed."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(graph)
    _name_sizes(fixed.graph.input[0], shape)
    _name_sizes(
        fixed.graph.output[0], (shape[0], "anchors", fixed.graph.output[0].type.tensor_type.shape.dim[2].dim_value)
    )
    with quiet_exporter():
        return optimizer.optimize(fixed)


def check_opset(graph: onnx.ModelProto, opset: int) -> None:
    """PyTorch writes 18 and newer itself; for an older one it converts the graph, and where it cannot it keeps 18."""
    written = next(entry.version for entry in graph.opset_import if entry.domain == "")
    if written != opset:
        raise ExportError(f"this model cannot be written in ONNX opset {opset}", f"use --opset {written}")


def _strip_trace(graph: onnx.ModelProto) -> None:
    """Remove, in place, the notes of the tracer: source lines, module paths and symbols of the machine it ran on."""
    parts = graph.graph
    for part in (graph, parts, *parts.node, *parts.input, *parts.output, *parts.value_info, *parts.initializer):
        del part.metadata_props[:]


def _describe(
    graph: onnx.ModelProto, model: nn.Module, shape: tuple[int, ...], stride: int, comparisons: list[Comparison]
) -> None:
    """Store in the file what a reader of it needs to know, in place."""
    metadata = {
        "stride": str(stride),
        "names": str(dict(model.names)),
        "imgsz": json.dumps(shape[2:]),
        "verification": json.dumps([asdict(comparison) for comparison in comparisons]),
    }
    onnx.helper.set_model_props(graph, metadata)
