"""The layout of an ONNX file's output is told by its metadata or sizes; what is no known one is refused by name."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from utils.backends.choose import load_backend
from utils.errors import CheckpointError, ConfigError

NMS, EXCHANGED, NEITHER = "hold NMS already", "layout exchanged", "neither"


def constant_detector(path, result, *, declared, nc=3, images=(1, 3, 64, 64), more=(), node=(), **metadata):
    """Write a graph that gives ``result``, whatever the images are, and declares its shape as ``declared``."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),  # so that the input is used
        helper.make_node("Add", ["result", "nothing"], ["output0"]),
        *node,
    ]
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, declared), *more]
    tensors = [numpy_helper.from_array(np.zeros(result, np.float32), "result")]
    tensors.append(numpy_helper.from_array(np.float32(0), "zero"))
    source = helper.make_tensor_value_info("images", TensorProto.FLOAT, images)
    proto = helper.make_model(
        helper.make_graph(nodes, "constant", [source], outputs, tensors),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    names = {index: f"c{index}" for index in range(nc)}
    helper.set_model_props(proto, {"stride": "32", "names": str(names)} | metadata)
    onnx.save(proto, path)
    return path


OPEN = ("b", 3, "h", "w")


@pytest.mark.parametrize(
    ("result", "declared", "images", "words"),
    [
        ((1, 300, 6), (1, 300, 6), (1, 3, 64, 64), NMS),
        ((1, 300, 6), ("b", "n", "c"), OPEN, NMS),
        ((1, 8, 252), (1, 8, 252), (1, 3, 64, 64), EXCHANGED),
        ((1, 252, 40), (1, 252, 40), (1, 3, 64, 64), NEITHER),
        ((1, 252, 7), ("b", "n", "c"), OPEN, EXCHANGED),
        ((252, 8), None, OPEN, "instead of"),
        ((1, 3, 84, 8), None, OPEN, "instead of"),
    ],
)
def test_another_layout_is_named_when_the_file_is_opened(tmp_path, result, declared, images, words):
    path = constant_detector(tmp_path / "x.onnx", result, declared=declared, images=images)

    with pytest.raises(CheckpointError, match=words) as error:
        load_backend(path)
    assert error.value.fix


@pytest.mark.parametrize(
    ("result", "declared", "images", "layout"),
    [
        ((1, 7, 84), (1, 7, 84), (1, 3, 64, 64), "B4CN"),
        ((1, 7, 84), ("b", 7, "n"), OPEN, "B4CN"),
        ((1, 7, 84), ("b", "c", "n"), OPEN, "B4CN"),  # found out by running it
        ((1, 7, 84), ("b", "c", "n"), (1, 3, 64, 64), "B4CN"),
        ((1, 7, 84), None, (1, 3, 64, 64), "B4CN"),
        ((1, 252, 8), (1, 252, 8), (1, 3, 64, 64), "BN5C"),
        ((1, 252, 8), ("b", "n", "c"), OPEN, "BN5C"),
        ((1, 252, 8), None, OPEN, "BN5C"),
    ],
)
def test_the_layout_is_told_by_the_sizes(tmp_path, result, declared, images, layout):
    backend = load_backend(constant_detector(tmp_path / "x.onnx", result, declared=declared, images=images))

    assert backend.layout.name == layout
    assert backend(torch.zeros(1, 3, 64, 64)).scores.shape == (1, max(result), 3)


def test_numbers_that_agree_by_chance_ask_for_the_flag(tmp_path):
    path = constant_detector(tmp_path / "x.onnx", (1, 7, 8), declared=(1, 7, 8))

    with pytest.raises(ConfigError, match="can be") as error:
        load_backend(path)

    assert "--layout BN5C or --layout B4CN" in error.value.fix
    assert load_backend(path, layout="B4CN")(torch.zeros(1, 3, 64, 64)).scores.shape == (1, 8, 3)
    assert load_backend(path, layout="BN5C")(torch.zeros(1, 3, 64, 64)).scores.shape == (1, 7, 3)


@pytest.mark.parametrize(("said", "layout"), [({"task": "detect"}, "B4CN"), ({"layout": "BN5C"}, "BN5C")])
def test_metadata_decide_where_the_sizes_do_not(tmp_path, said, layout):
    path = constant_detector(tmp_path / "x.onnx", (1, 7, 8), declared=(1, 7, 8), **said)

    assert load_backend(path).layout.name == layout


def test_metadata_and_sizes_that_contradict_each_other_are_refused(tmp_path):
    path = constant_detector(tmp_path / "x.onnx", (1, 252, 8), declared=(1, 252, 8), task="detect")

    with pytest.raises(CheckpointError, match="252"):
        load_backend(path)


def test_a_result_is_looked_at_even_where_the_file_declares_the_right_shape(tmp_path):
    """A file may declare what it likes: ONNX Runtime only warns."""
    source = [helper.make_node("Identity", ["output0"], ["lie"])]
    more = [helper.make_tensor_value_info("lie", TensorProto.FLOAT, None)]
    path = constant_detector(tmp_path / "x.onnx", (1, 252, 8), declared=(1, 252, 8), node=source, more=more)
    backend = load_backend(path)
    backend.network = replace(backend.network, run=lambda images: torch.zeros(1, 7, 84))

    with pytest.raises(CheckpointError, match="7 × 84"):
        backend(torch.zeros(1, 3, 64, 64))


def test_as_many_results_as_images_are_asked_for(tmp_path):
    path = constant_detector(tmp_path / "x.onnx", (1, 252, 8), declared=("b", 252, 8), images=OPEN)

    assert load_backend(path)(torch.zeros(1, 3, 64, 64)).output.shape == (1, 252, 8)
    with pytest.raises(CheckpointError, match="1 results for 2 images"):
        load_backend(path)(torch.zeros(2, 3, 64, 64))


def test_masks_are_told_apart_from_raw_maps(tmp_path):
    def file(shape):
        node = [helper.make_node("Identity", [shape[0]], ["more"])]
        more = [helper.make_tensor_value_info("more", TensorProto.FLOAT, shape[1])]
        return constant_detector(tmp_path / "x.onnx", (1, 252, 8), declared=(1, 252, 8), node=node, more=more)

    with pytest.raises(CheckpointError, match="masks, as segmentation models do"):
        load_backend(file(("images", (1, 3, 64, 64))))
    assert load_backend(file(("result", (1, 252, 8)))).names  # YOLOv5 before 6.1 added its raw maps


@pytest.mark.parametrize("task", ["segment", "classify", "pose", "obb"])
def test_a_file_for_another_task_is_refused(tmp_path, task):
    path = constant_detector(tmp_path / "x.onnx", (1, 252, 8), declared=(1, 252, 8), task=task)

    with pytest.raises(CheckpointError, match=f"the task '{task}'"):
        load_backend(path)


def test_a_small_file_of_one_class_of_yolov5_is_not_mistaken(tmp_path):
    path = constant_detector(tmp_path / "x.onnx", (1, 300, 6), declared=(1, 300, 6), nc=1)
    assert load_backend(path)(torch.zeros(1, 3, 64, 64)).output.shape == (1, 300, 6)

    for foreign in ({"task": "detect"}, {"node": [helper.make_node("TopK", ["result", "k"], ["v", "i"])]}):
        path = constant_detector(tmp_path / "y.onnx", (1, 300, 6), declared=(1, 300, 6), nc=1, **foreign)
        if "node" in foreign:
            proto = onnx.load(path)
            proto.graph.initializer.append(numpy_helper.from_array(np.array([1]), "k"))
            onnx.save(proto, path)
        with pytest.raises(CheckpointError, match=NMS):
            load_backend(path)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ((0, 3, 64, 64), "takes .* instead of one batch of float images"),
        ((1, 3, 0, 64), "takes .* instead of one batch of float images"),
        ((1, 17, 64, 64), "takes .* instead of one batch of float images"),
        (("b", 3, 64, "w"), "both fixed or both open"),
        ((2**20, 3, 640, 640), "takes .* instead of one batch of float images"),
        ((1, 3, 40000, 64), "takes .* instead of one batch of float images"),
    ],
)
def test_a_batch_that_cannot_be_made_is_refused(tmp_path, images, words):
    path = constant_detector(tmp_path / "x.onnx", (1, 252, 8), declared=(1, 252, 8), images=images)

    with pytest.raises(CheckpointError, match=words) as error:
        load_backend(path)
    assert error.value.fix


def test_bytes_that_also_look_like_a_file_of_the_runtime_are_read_as_onnx(tmp_path):
    path = constant_detector(tmp_path / "x.onnx", (1, 252, 8), declared=(1, 252, 8))
    proto = onnx.load(path)
    proto.producer_name = "ORTM at byte 4"
    onnx.save(proto, path)
    assert path.read_bytes()[4:8] == b"ORTM"

    assert load_backend(path).stride == 32


def test_what_the_runtime_finds_out_while_it_runs_is_one_sentence(tmp_path):
    node = [helper.make_node("Reshape", ["images", "odd"], ["broken"])]
    more = [helper.make_tensor_value_info("broken", TensorProto.FLOAT, None)]
    path = constant_detector(
        tmp_path / "x.onnx", (1, 252, 8), declared=("b", 252, 8), images=OPEN, node=node, more=more
    )
    proto = onnx.load(path)
    proto.graph.initializer.append(numpy_helper.from_array(np.array([7, 11]), "odd"))
    proto.graph.node.append(helper.make_node("ReduceMean", ["broken"], ["m"], keepdims=0))
    proto.graph.node.append(helper.make_node("Add", ["output0", "m"], ["output1"]))
    proto.graph.output[0].name = "output1"
    onnx.save(proto, path)

    with pytest.raises(CheckpointError, match="cannot run it on images 1×3×64×64: ") as error:
        load_backend(path)(torch.zeros(1, 3, 64, 64))
    assert "\n" not in error.value.what
