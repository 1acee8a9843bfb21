"""Run a folder ``NAME_saved_model`` of ours in TensorFlow, on the CPU; ``metadata.yaml`` in it holds the facts.

A SavedModel is a program, and among TensorFlow's operations are some that read and write files. So its loader is not
asked: only what the answer of the signature depends on is taken out of the graph, and an operation that ``export.py``
does not write is refused.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.backends.exported import (
    OTHER_PROGRAM,
    ExportedBackend,
    Network,
    facts_beside,
    image_sizes,
    only_file,
    refuse_backbone,
)
from utils.checkpoint.export_facts import EXPORT_AGAIN
from utils.checkpoint.facts import read_imgsz
from utils.errors import CheckpointError
from utils.optional_import import import_beside_torch
from utils.text import one_line

SIGNATURE, INPUT, OUTPUT = "serving_default", "images", "output0"
CALLS = {"PartitionedCall", "StatefulPartitionedCall"}  # of functions, which are looked through as well
_WRITTEN = """
    AddV2 BatchMatMulV2 Cast ConcatV2 Const Conv2D Conv2DBackpropInput DepthwiseConv2dNative Erf ExpandDims Identity
    LeakyRelu MatMul MaxPool Mean Mul NoOp Pack Pad PadV2 Placeholder Pow Range RealDiv Relu Reshape Rsqrt Select
    Sigmoid Softmax Split SplitV SquaredDifference StopGradient StridedSlice Sub Sum Tile Transpose"""
OPERATIONS = CALLS | set(_WRITTEN.split())


def load(path: Path, device: torch.device, backbone: str = "", layout: str = "") -> ExportedBackend:
    """Return the network on the CPU; ``layout`` as ``utils.backends.choose``. Raises: CheckpointError, ConfigError."""
    refuse_backbone(path, backbone)
    facts = facts_beside(only_file(path, "yaml"), OTHER_PROGRAM)
    tf = import_beside_torch("tensorflow", path)
    try:
        message = import_beside_torch("tensorflow.core.protobuf.saved_model_pb2", path).SavedModel()
        message.ParseFromString((path / "saved_model.pb").read_bytes())
        network = message.meta_graphs[0]
        signature = network.signature_def[SIGNATURE]
        source, answer = signature.inputs[INPUT], signature.outputs[OUTPUT]
        graph = _prepared(_part(network.graph_def, answer.name.partition(":")[0]), path)
        shape = [dim.size for dim in source.tensor_shape.dim]
        batch, channels, *size = image_sizes([shape], path, [tf.as_dtype(source.dtype).name])

        def computed(images: Any) -> Any:
            return tf.graph_util.import_graph_def(graph, {source.name: images}, [answer.name], name="")[0]

        detect = tf.compat.v1.wrap_function(computed, [tf.TensorSpec((batch, channels, *size), tf.float32)])
    except CheckpointError:
        raise
    except Exception as error:  # TensorFlow's errors have no class in common
        what = f"{path}: TensorFlow refuses it: {one_line(error, 200) or type(error).__name__}"
        raise CheckpointError(what, EXPORT_AGAIN) from error

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(detect(tf.constant(images.cpu().numpy())).numpy())

    network = Network(run, "TensorFlow", batch=batch, size=read_imgsz(size, path), channels=channels)
    return ExportedBackend(path, device, network, facts, layout)


def _prepared(graph: Any, path: Path) -> Any:
    """Return the graph with the functions that it calls alone, in place, once all operations are found to be known.

    They get new names: TensorFlow keeps the functions of all graphs of a process in one table.
    Raises: CheckpointError.
    """
    functions = {function.signature.name: function for function in graph.library.function}
    called: dict[str, str] = {}  # name → new name
    parts = [graph.node]
    while parts:
        for node in parts.pop():
            if node.op not in OPERATIONS:
                what = f"{path}: holds an operation of TensorFlow that is not run here: {one_line(node.op, 40)}"
                raise CheckpointError(what, OTHER_PROGRAM)
            for function in _called_by(node):
                if function.name in functions and function.name not in called:
                    called[function.name] = f"f{uuid.uuid4().hex}"
                    parts.append(functions[function.name].node_def)
                function.name = called.get(function.name, "")
    for name, new_name in called.items():
        functions[name].signature.name = new_name
    kept = type(graph.library)(function=[functions[name] for name in called])
    graph.library.CopyFrom(kept)
    return graph


def _part(graph: Any, name: str) -> Any:
    """Return what a node of the graph depends on, itself included, as a graph."""
    nodes = {node.name: node for node in graph.node}
    wanted, found = [name], {}
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = nodes[name]
            wanted += [source.lstrip("^").partition(":")[0] for source in nodes[name].input]
    kept = [node for node in graph.node if node.name in found]
    return type(graph)(node=kept, versions=graph.versions, library=graph.library)


def _called_by(node: Any) -> Iterator[Any]:
    """Yield what a node of a graph says of the functions that it calls."""
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func
        yield from value.list.func
