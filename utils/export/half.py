"""Keep the weights of an ONNX graph in float16, and compute in it but for the decoding of boxes.

Images and predictions stay float32: in float16 a coordinate of 640 pixels would be off by half a pixel.
"""

import onnx

from utils.export.compare import RejectedError, reason
from utils.export.trace import quiet_exporter


def in_half(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph in float16, from the images to the last convolutions. Raises: RejectedError."""
    from onnxruntime.transformers.float16 import convert_float_to_float16  # here, because it changes sys.path
    from onnxruntime.transformers.onnx_model import OnnxModel

    half = onnx.ModelProto()
    half.CopyFrom(graph)
    name_nodes(half.graph)
    try:
        with quiet_exporter():
            half = convert_float_to_float16(half, keep_io_types=True, node_block_list=decoding(half.graph))
            OnnxModel.graph_topological_sort(half.graph)  # the casts were put behind all nodes
    except Exception as error:  # its errors have no class in common
        raise RejectedError(f"it cannot be turned into float16: {reason(error)}") from error
    return half


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give a name to each node that has none, in place."""
    for index, node in enumerate(graph.node):
        node.name = node.name or f"node_{index}"


def decoding(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes that no convolution follows, one to a single map not counting: they make boxes."""
    single = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 4 and tensor.dims[0] == 1}
    wanted: set[str] = set()  # what convolutions read, directly or not
    names = []
    for node in reversed(graph.node):
        is_conv = node.op_type == "Conv" and node.input[1] not in single
        if is_conv or wanted & set(node.output):
            wanted |= set(node.input)
        else:
            names.append(node.name)
    return names
