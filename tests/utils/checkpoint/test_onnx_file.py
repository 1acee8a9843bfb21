"""An ONNX file is read alone: whatever in it names another file, at any depth, is refused before anything runs it."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from utils.checkpoint.onnx_file import read_facts, read_onnx
from utils.errors import CheckpointError

METADATA = {"stride": "32", "names": "{0: 'cat', 1: 'dog'}"}


def model(**metadata):
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], [])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(proto, METADATA | metadata)
    return proto


def read(proto, tmp_path):
    onnx.save(proto, tmp_path / "x.onnx")
    return read_onnx(tmp_path / "x.onnx")


def tensor_places(descriptor=onnx.ModelProto.DESCRIPTOR, seen=()):
    """Yield, as field names from the model down, every place where the file format has room for a tensor."""
    for field in descriptor.fields:
        if field.message_type is None or field.message_type in seen:
            continue
        if field.message_type is TensorProto.DESCRIPTOR:
            yield (field.name,)
        for place in tensor_places(field.message_type, (*seen, descriptor)):
            yield (field.name, *place)


PLACES = sorted(set(tensor_places()))


def tensor_at(proto, place):
    part = proto
    for name in place:
        part = getattr(part, name)
        part = part.add() if hasattr(part, "add") else part
    return part


def test_the_places_include_those_that_were_once_forgotten():
    assert {
        ("graph", "initializer"),
        ("graph", "sparse_initializer", "values"),
        ("graph", "sparse_initializer", "indices"),
        ("graph", "node", "attribute", "t"),
        ("graph", "node", "attribute", "tensors"),
        ("graph", "node", "attribute", "sparse_tensor", "values"),
        ("graph", "node", "attribute", "sparse_tensors", "indices"),
        ("functions", "node", "attribute", "t"),
        ("functions", "attribute_proto", "t"),
        ("training_info", "algorithm", "initializer"),
    } <= set(PLACES)


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_a_tensor_in_another_file_is_refused_wherever_it_is(tmp_path, place):
    proto = model()
    tensor_at(proto, place).external_data.add(key="location", value="secret.bin")

    with pytest.raises(CheckpointError, match="keeps weights in other files"):
        read(proto, tmp_path)


def test_a_tensor_that_is_only_marked_as_external_is_refused(tmp_path):
    proto = model()
    proto.graph.initializer.add(name="w", data_location=TensorProto.EXTERNAL)

    with pytest.raises(CheckpointError, match="keeps weights in other files"):
        read(proto, tmp_path)


def test_a_tensor_in_a_graph_inside_a_graph_is_refused(tmp_path):
    proto = model()
    for _ in range(10):
        outer = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=proto.graph)], "g", [], [])
        proto.graph.CopyFrom(outer)
    inner = proto.graph
    while inner.node[0].op_type == "If":
        inner = inner.node[0].attribute[0].g
    inner.sparse_initializer.add().values.external_data.add(key="location", value="secret.bin")

    with pytest.raises(CheckpointError, match="keeps weights in other files"):
        read(proto, tmp_path)


def test_a_part_that_is_compiled_for_a_device_and_may_lie_beside_the_file_is_refused(tmp_path):
    proto = model()
    proto.graph.node.append(
        helper.make_node("EPContext", ["x"], ["z"], domain="com.microsoft", embed_mode=0, ep_cache_context="../x.bin")
    )

    with pytest.raises(CheckpointError, match="EPContext"):
        read(proto, tmp_path)


def test_tensors_of_all_kinds_inside_the_file_are_read(tmp_path):
    proto = model()
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "v"))
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))

    assert read(proto, tmp_path).operators == {"Relu"}


def test_size_and_data_set_of_the_training_are_optional(tmp_path):
    facts = read_facts(read(model(), tmp_path)).trained
    assert (facts.data, facts.imgsz) == (None, None)

    facts = read_facts(read(model(imgsz="[96, 160]", data="pets.yaml"), tmp_path)).trained
    assert (facts.data, facts.imgsz) == ("pets.yaml", (96, 160))


def test_the_names_of_ten_thousand_classes_have_room(tmp_path):
    names = {index: f"a class with the number {index} ' \" {{é" for index in range(10_000)}

    assert read_facts(read(model(names=str(names)), tmp_path)).names == names
