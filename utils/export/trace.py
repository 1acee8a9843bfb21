"""Turn a model into an ONNX graph of one operator set, with one of PyTorch's two exporters.

The TorchScript exporter writes opsets 9 to 20, within seconds; it sees what one run of the model computes, so that a
size may be frozen in it. ``torch.export`` writes 18 and converts that to newer ones; it takes ten to fifty times as
long, and knows sizes as unknowns. Both leave the sizes of the batch, the images and the predictions open if asked to.
ONNX Runtime folds what is constant; its own operators are never written.
"""

import contextlib
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import onnxruntime
import torch
from torch import Tensor

from utils.export.compare import INPUT, OUTPUT, RejectedError, reason
from utils.export.deployed import Deployed
from utils.quiet import quiet

OLDEST_OPSET = 9  # before, weights are inputs of the graph
SCRIPT_OPSETS = range(OLDEST_OPSET, 21)  # of the TorchScript exporter
PROGRAM_OPSET = 18  # the oldest of torch.export
DEFAULT_OPSET = 17
FUNCTIONS_IR = 8

# x of the first ONNX Runtime 1.x, none older than 1.2 being tried, that ran a detector of opset 9, 10, … 26
OLDEST_RUNTIMES = (2, 2, 2, 3, 6, 8, 9, 11, 12, 14, 16, 17, 18, 21, 23, 24, 24, 25)


Exporter = Callable[[Deployed, Tensor, int, bool], onnx.ModelProto]


def exporters(opset: int | None) -> list[tuple[Exporter, int]]:
    """Return what can write an opset, the fastest first; of any opset, 17 and, where that fails, 18.

    Raises: RejectedError where nothing writes it.
    """
    if opset is None:
        return [(by_script, DEFAULT_OPSET), (by_program, PROGRAM_OPSET)]
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise RejectedError(f"no opset {opset}: the installed packages write {OLDEST_OPSET} to {newest}")
    known = [(by_script, opset in SCRIPT_OPSETS), (by_program, opset >= PROGRAM_OPSET)]
    return [(exporter, opset) for exporter, writes in known if writes]


def open_input(channels: int) -> tuple[int | str, ...]:
    """Return the shape of an input whose sizes are left open."""
    return "batch", channels, "height", "width"


def trace(exporter: Exporter, model: Deployed, shape: tuple[int, ...], opset: int, open_sizes: bool) -> onnx.ModelProto:
    """Return the ONNX graph of the model, traced with zeros of ``shape``. Raises: RejectedError."""
    with quiet_exporter():
        graph = exporter(model, torch.zeros(shape), opset, open_sizes)
    written = next(entry.version for entry in graph.opset_import if entry.domain == "")
    if written != opset:
        raise RejectedError(f"PyTorch writes {written} instead")
    if open_sizes:
        _name_sizes(graph.graph.input[0], open_input(shape[1]))
        channels = model.layout.channels(model.detector.nc)
        _name_sizes(graph.graph.output[0], model.layout.shape("batch", "anchors", channels))
    return folded(graph)


def by_program(model: Deployed, images: Tensor, opset: int, open_sizes: bool) -> onnx.ModelProto:
    """Write a graph with ``torch.export``.

    Open sizes are multiples of the stride: knowing that, it computes the sizes of all maps in advance.
    """
    stride = model.detector.size_multiple
    batch, rows, columns = (torch.export.Dim(name, min=1) for name in ("batch", "rows", "columns"))
    open_dims = {0: batch, 2: stride * rows, 3: stride * columns}
    try:
        program = torch.onnx.export(
            model,
            (images,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=opset,
            dynamo=True,
            dynamic_shapes=(open_dims,) if open_sizes else None,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        raise RejectedError(reason(error)) from error
    return program.model_proto


def by_script(model: Deployed, images: Tensor, opset: int, open_sizes: bool) -> onnx.ModelProto:
    """Write a graph with the TorchScript exporter."""
    file = io.BytesIO()
    axes = {INPUT: {0: "batch", 2: "height", 3: "width"}, OUTPUT: {0: "batch", model.layout.box_axis: "anchors"}}
    try:
        with _silent_stdout():
            torch.onnx.export(
                model,
                (images,),
                file,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=opset,
                dynamo=False,
                dynamic_axes=axes if open_sizes else None,
            )
    except Exception as error:  # its errors have no class in common
        raise RejectedError(reason(error)) from error
    return onnx.load_model_from_string(file.getvalue())


@contextlib.contextmanager
def _silent_stdout() -> Iterator[None]:
    """Hold back what compiled code prints: PyTorch lists the whole graph, thousands of lines, where it gives up."""
    try:
        kept = os.dup(1)
    except OSError:  # there is no stdout
        yield
        return
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _name_sizes(value: onnx.ValueInfoProto, sizes: tuple[int | str, ...]) -> None:
    del value.type.tensor_type.shape.dim[:]
    for size in sizes:
        dim = value.type.tensor_type.shape.dim.add()
        setattr(dim, "dim_value" if isinstance(size, int) else "dim_param", size)


def with_fixed_shape(graph: onnx.ModelProto, shape: tuple[int, ...]) -> onnx.ModelProto:
    """Return the graph for one input shape, with all that follows from the shape computed."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(graph)
    _name_sizes(fixed.graph.input[0], shape)
    sizes = fixed.graph.output[0].type.tensor_type.shape.dim
    _name_sizes(fixed.graph.output[0], (shape[0], *(size.dim_value or "anchors" for size in sizes[1:])))
    return folded(fixed)


def folded(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with what is constant computed and without what does nothing, in its own opset.

    Raises: RejectedError where ONNX Runtime does not read it.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # standard operators only
    options.log_severity_level = 4  # what matters is raised
    with tempfile.TemporaryDirectory() as folder:
        file = options.optimized_model_filepath = str(Path(folder, "folded.onnx"))
        try:
            onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no class in common
            raise RejectedError(f"ONNX Runtime cannot run the exported graph: {reason(error)}") from error
        small = onnx.load(file)
    tidy(small, graph)
    return small


def tidy(made: onnx.ModelProto, source: onnx.ModelProto) -> None:
    """Remove, in place, what a library has noted in a graph that it made of ``source``."""
    used = {node.domain for node in made.graph.node} | {node.domain for node in made.functions}
    imports = [entry for entry in made.opset_import if entry.domain in used | {""}]
    del made.opset_import[:]
    made.opset_import.extend(imports)
    del made.graph.value_info[:]  # sizes of every map, as formulas over the trace's own symbols
    del made.metadata_props[:]
    made.producer_name, made.producer_version = source.producer_name, source.producer_version
    made.ir_version = least_ir(made)


def oldest_runtime(opset: int) -> str:
    """Return the version of the first ONNX Runtime that reads an opset in its own IR version, "" where not known."""
    index = opset - OLDEST_OPSET
    return f"1.{OLDEST_RUNTIMES[index]}" if 0 <= index < len(OLDEST_RUNTIMES) else ""


def newest_opset(below: int) -> int:
    """Return the newest opset below one that was tried and the installed packages know."""
    return min(below - 1, onnx.defs.onnx_opset_version())


def least_ir(graph: onnx.ModelProto) -> int:
    """Return the oldest version of the file format that can hold the graph, which older runtimes read."""
    least = onnx.helper.find_min_ir_version_for(graph.opset_import, ignore_unknown=True)
    return max(least, FUNCTIONS_IR) if graph.functions else least


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Hold back what PyTorch's exporters and their libraries say about their own internals."""
    with quiet(logging.ERROR, "torch.onnx", "onnxscript", "onnx_ir"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
