"""Operations of ONNX are translated into TensorFlow; what would come out otherwise is refused by its name."""

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from utils.export.compare import RejectedError
from utils.export.tf_graph import computed
from utils.optional_import import import_beside_torch

SHAPE = (1, 4, 6, 8)
X = np.random.default_rng(0).standard_normal(SHAPE, np.float32)
NUMPY = SimpleNamespace(  # enough of TensorFlow
    pad=np.pad, reshape=np.reshape, concat=np.concatenate, repeat=np.repeat, transpose=np.transpose, add=np.add
)


def graph(kind, *constants, outputs=1, **attributes):
    held = [numpy_helper.from_array(value, f"c{index}") for index, value in enumerate(constants) if value is not None]
    names = ["" if value is None else f"c{index}" for index, value in enumerate(constants)]
    found = [f"y{index}" for index in range(outputs)]
    node = helper.make_node(kind, ["x", *names], found, **attributes)
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)
    answers = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in found[:1]]
    return helper.make_graph([node], "g", [source], answers, held)


def ints(*values):
    return np.array(values, np.int64)


def floats(*shape):
    return np.random.default_rng(1).standard_normal(shape, np.float32)


def expected(made):
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return ReferenceEvaluator(model).run(None, {"x": X})[0]


PLAIN = [
    graph("Slice", ints(1, -3), ints(2**31, -1), ints(1, 3), ints(2, 1)),
    graph("Slice", ints(-100), ints(2), ints(2)),
    graph("Slice", ints(0), ints(3)),
    graph("Reshape", ints(0, -1, 8)),
    graph("Pad", ints(0, 0, 1, 2, 0, 0, 3, 0)),
    graph("Pad", ints(0, 1, 0, 0, 0, 0, 0, 0), np.float32(2)),
    graph(
        "Resize",
        None,
        np.array([1, 1, 2, 3], np.float32),
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    ),
    graph("Transpose", perm=[0, 2, 3, 1]),
    graph("Add", floats(4, 1, 1)),
]


@pytest.mark.parametrize("made", PLAIN, ids=lambda made: made.node[0].op_type)
def test_sizes_and_places_are_those_of_onnx(made):
    np.testing.assert_array_equal(computed(NUMPY, made, X), expected(made))


COMPUTED = [
    graph("Conv", floats(6, 4, 3, 3), floats(6), pads=[1, 0, 2, 1], strides=[2, 1]),
    graph("Conv", floats(4, 1, 3, 3), group=4, pads=[1, 1, 1, 1]),
    graph("Conv", floats(8, 1, 3, 3), group=4, pads=[1, 1, 1, 1]),
    graph("Conv", floats(6, 2, 3, 3), floats(6), group=2, dilations=[2, 2]),
    graph("ConvTranspose", floats(4, 5, 2, 2), floats(5), strides=[2, 2]),
    graph("MaxPool", kernel_shape=[5, 5], pads=[2, 2, 2, 2]),
    graph("MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    graph("LeakyRelu", alpha=0.1),
    graph("Relu"),
    graph("Sigmoid"),
    graph("Softmax", axis=1),
    graph("ReduceMean", axes=[2, 3]),
    graph("ReduceSum", ints(1), keepdims=0),
    graph("LayerNormalization", floats(8), floats(8), axis=-1),
    graph("BatchNormalization", floats(4), floats(4), floats(4), floats(4) ** 2 + 1),
    graph("Split", ints(1, 3), outputs=2, axis=1),
    graph("MatMul", floats(8, 3)),
    graph("Pow", np.float32(2)),
]


@pytest.mark.parametrize("made", COMPUTED, ids=lambda made: made.node[0].op_type)
def test_operations_compute_in_tensorflow_what_they_do_in_onnx(made):
    if find_spec("tensorflow") is None:
        pytest.skip("needs tensorflow")
    tf = import_beside_torch("tensorflow", Path("x"))

    found = computed(tf, made, tf.constant(X)).numpy()

    np.testing.assert_allclose(found, expected(made), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (graph("Cos"), "its operation Cos has no translation"),
        (graph("Slice", ints(3), ints(0), ints(2), ints(-1)), "from back to front"),
        (graph("Pad", ints(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect"), "other than of one value"),
        (graph("Pad", ints(0, 0, -1, 0, 0, 0, 0, 0)), "other than of one value"),
        (graph("Resize", None, np.array([1, 1, 1.5, 2], np.float32), mode="nearest"), "to whole multiples"),
        (graph("Resize", None, np.array([1, 1, 2, 2], np.float32), mode="linear"), "to whole multiples"),
        (graph("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]), "with gaps"),
        (graph("MaxPool", kernel_shape=[2, 2], ceil_mode=1), "borders of its own"),
        (graph("Conv", floats(6, 4, 3, 3), auto_pad="SAME_UPPER"), "borders of its own"),
        (graph("ConvTranspose", floats(4, 5, 3, 3), strides=[2, 2]), "kernels overlap"),
    ],
)
def test_what_would_be_computed_otherwise_is_refused(made, words):
    with pytest.raises(RejectedError, match=words):
        computed(NUMPY, made, X)
