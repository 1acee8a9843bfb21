"""The operations of a detector's ONNX graph in TensorFlow; what is not in the table is refused by its name.

They are read as the operator set defines them that a graph has by itself; older ones have other inputs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from utils.export.compare import RejectedError

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)  # channels, which TensorFlow has last
LOWEST = float(np.finfo(np.float32).min)

Attributes = Mapping[str, Any]
Values = Sequence[Any]  # inputs of a node: tensors, arrays where they are constant, None where left out


def computed(tf: Any, graph: onnx.GraphProto, images: Any) -> Any:
    """Return the only output of a graph for images (B, C, H, W). Raises: RejectedError for an unknown operation."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    values[graph.input[0].name] = images
    for node in graph.node:
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type not in OPERATIONS:
            raise RejectedError(f"its operation {node.op_type} has no translation into TensorFlow here")
        inputs = [values[name] if name else None for name in node.input]
        found = OPERATIONS[node.op_type](tf, inputs, attributes, len(node.output))
        values |= zip(node.output, found if isinstance(found, list) else [found], strict=True)
    return values[graph.output[0].name]


def _elementwise(name: str) -> Callable[..., Any]:
    """Return the operation that is a function of TensorFlow of the same inputs."""

    def apply(tf: Any, x: Values, a: Attributes, _count: int) -> Any:
        function = tf
        for part in name.split("."):
            function = getattr(function, part)
        return function(*x)

    return apply


def _reduction(name: str) -> Callable[..., Any]:
    def apply(tf: Any, x: Values, a: Attributes, _count: int) -> Any:
        axes = a.get("axes", x[1] if len(x) > 1 else None)
        axes = None if axes is None else [int(axis) for axis in axes]
        return getattr(tf, name)(x[0], axis=axes, keepdims=bool(a.get("keepdims", 1)))

    return apply


def _padded(tf: Any, image: Any, a: Attributes, value: float) -> Any:
    """Return an image (B, H, W, C) with the borders of a convolution or a pooling. Raises: RejectedError."""
    if a.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or a.get("ceil_mode"):
        raise RejectedError("a convolution or pooling with borders of its own has no translation into TensorFlow here")
    top, left, bottom, right = a.get("pads", (0, 0, 0, 0))
    if not any((top, left, bottom, right)):
        return image
    return tf.pad(image, [[0, 0], [top, bottom], [left, right], [0, 0]], constant_values=value)


def _conv(tf: Any, x: Values, a: Attributes, _count: int) -> Any:
    weight, groups = np.transpose(x[1], (2, 3, 1, 0)), a.get("group", 1)  # (h, w, in / groups, out)
    strides, dilations = a.get("strides", (1, 1)), a.get("dilations", (1, 1))
    image = _padded(tf, tf.transpose(x[0], TO_LAST), a, 0.0)
    if groups == x[0].shape[1] == weight.shape[3]:
        weight = np.transpose(weight, (0, 1, 3, 2))
        found = tf.nn.depthwise_conv2d(image, weight, [1, *strides, 1], "VALID", dilations=dilations)
    else:
        images, weights = tf.split(image, groups, axis=3), np.split(weight, groups, axis=3)
        pairs = zip(images, weights, strict=True)
        parts = [tf.nn.conv2d(part, kernel, strides, "VALID", dilations=dilations) for part, kernel in pairs]
        found = tf.concat(parts, axis=3)
    return tf.transpose(found if len(x) < 3 else found + x[2], TO_FIRST)


def _conv_transpose(tf: Any, x: Values, a: Attributes, _count: int) -> Any:
    strides = a.get("strides", (1, 1))
    plain = a.get("group", 1) == 1 and not any((*a.get("pads", ()), *a.get("output_padding", ())))
    if not plain or tuple(x[1].shape[2:]) != tuple(strides) or set(a.get("dilations", (1,))) != {1}:
        raise RejectedError("an upsampling convolution whose kernels overlap has no translation into TensorFlow here")
    batch, _, height, width = x[0].shape
    kernel = np.transpose(x[1], (2, 3, 1, 0))  # (h, w, out, in)
    sizes = (batch, height * strides[0], width * strides[1], kernel.shape[2])
    found = tf.nn.conv2d_transpose(tf.transpose(x[0], TO_LAST), kernel, sizes, strides, "VALID")
    return tf.transpose(found if len(x) < 3 else found + x[2], TO_FIRST)


def _max_pool(tf: Any, x: Values, a: Attributes, _count: int) -> Any:
    if set(a.get("dilations", (1,))) != {1}:
        raise RejectedError("a pooling with gaps has no translation into TensorFlow here")
    image = _padded(tf, tf.transpose(x[0], TO_LAST), a, LOWEST)
    pooled = tf.nn.max_pool2d(image, a["kernel_shape"], a.get("strides", (1, 1)), "VALID")
    return tf.transpose(pooled, TO_FIRST)


def _resize(tf: Any, x: Values, a: Attributes, _count: int) -> Any:
    scales = x[2] if len(x) < 4 or x[3] is None else np.asarray(x[3]) / np.asarray(x[0].shape)
    factors = np.asarray(scales).round().astype(int)
    if a.get("mode") != b"nearest" or not np.array_equal(factors, scales) or tuple(factors[:2]) != (1, 1):
        raise RejectedError("a resizing other than to whole multiples has no translation into TensorFlow here")
    return tf.repeat(tf.repeat(x[0], int(factors[2]), axis=2), int(factors[3]), axis=3)


def _reshape(tf: Any, x: Values, a: Attributes, _count: int) -> Any:
    sizes = [x[0].shape[axis] if size == 0 else int(size) for axis, size in enumerate(x[1])]
    return tf.reshape(x[0], sizes)


def _split(tf: Any, x: Values, a: Attributes, count: int) -> Any:
    sizes = [int(size) for size in x[1]] if len(x) > 1 else count
    return list(tf.split(x[0], sizes, axis=a.get("axis", 0)))


def _slice(tf: Any, x: Values, a: Attributes, _count: int) -> Any:
    starts, ends = x[1], x[2]
    axes = range(len(starts)) if len(x) < 4 or x[3] is None else x[3]
    steps = [1] * len(starts) if len(x) < 5 or x[4] is None else x[4]
    index = [slice(None)] * len(x[0].shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise RejectedError("a slice from back to front has no translation into TensorFlow here")
        size = x[0].shape[int(axis)]
        index[int(axis)] = slice(*(max(-size, min(int(place), size)) for place in (start, end)), int(step))
    return x[0][tuple(index)]


def _pad(tf: Any, x: Values, a: Attributes, _count: int) -> Any:
    if a.get("mode", b"constant") != b"constant" or len(x) > 3 or min(x[1]) < 0:
        raise RejectedError("borders other than of one value have no translation into TensorFlow here")
    value = float(x[2]) if len(x) > 2 and x[2] is not None else 0.0
    return tf.pad(x[0], np.reshape(x[1], (2, -1)).T, constant_values=value)


def _layer_norm(tf: Any, x: Values, a: Attributes, _count: int) -> Any:
    axes = list(range(a.get("axis", -1) % len(x[0].shape), len(x[0].shape)))
    mean, variance = tf.nn.moments(x[0], axes, keepdims=True)
    return tf.nn.batch_normalization(x[0], mean, variance, x[2] if len(x) > 2 else None, x[1], a.get("epsilon", 1e-5))


def _batch_norm(tf: Any, x: Values, a: Attributes, _count: int) -> Any:
    scale, bias, mean, variance = (np.reshape(part, (-1, *[1] * (len(x[0].shape) - 2))) for part in x[1:])
    return tf.nn.batch_normalization(x[0], mean, variance, bias, scale, a.get("epsilon", 1e-5))


def _gemm(tf: Any, x: Values, a: Attributes, _count: int) -> Any:
    found = tf.matmul(x[0], x[1], transpose_a=bool(a.get("transA", 0)), transpose_b=bool(a.get("transB", 0)))
    found = found * a.get("alpha", 1.0)
    return found if len(x) < 3 else found + x[2] * a.get("beta", 1.0)


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "Add": _elementwise("add"),
    "BatchNormalization": _batch_norm,
    "Concat": lambda tf, x, a, _count: tf.concat(list(x), axis=a["axis"]),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": _elementwise("divide"),
    "Erf": _elementwise("math.erf"),
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda tf, x, a, _count: tf.nn.leaky_relu(x[0], a.get("alpha", 0.01)),
    "MatMul": _elementwise("matmul"),
    "MaxPool": _max_pool,
    "Mul": _elementwise("multiply"),
    "Pad": _pad,
    "Pow": _elementwise("pow"),
    "ReduceMean": _reduction("reduce_mean"),
    "ReduceSum": _reduction("reduce_sum"),
    "Relu": _elementwise("nn.relu"),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": _elementwise("sigmoid"),
    "Slice": _slice,
    "Softmax": lambda tf, x, a, _count: tf.nn.softmax(x[0], axis=a.get("axis", -1)),
    "Split": _split,
    "Sub": _elementwise("subtract"),
    "Transpose": lambda tf, x, a, _count: tf.transpose(x[0], a["perm"]),
}
