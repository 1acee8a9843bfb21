"""Every backend gives the predictions of the model in its file, and says what is wrong with a file it cannot run."""

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tiny_detector import tiny_model

from utils.backends.choose import known_suffixes, load_backend
from utils.checkpoint.native import save_checkpoint
from utils.errors import CheckpointError, ConfigError
from utils.export.onnx import export_onnx

NAMES = {0: "class 0", 1: "class 1", 2: "class 2"}


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """Return a folder with the model as checkpoint and as ONNX files for any and for one shape."""
    folder = tmp_path_factory.mktemp("weights")
    save_checkpoint(folder / "tiny.pt", model, epoch=0, fitness=0.0, training={})
    export_onnx(model, folder / "dynamic.onnx", (64, 96), dynamic=True)
    export_onnx(model, folder / "fixed.onnx", (64, 96), batch=2)
    return folder


def batch(count, height=64, width=96):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("file", ["tiny.pt", "dynamic.onnx", "fixed.onnx"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_predictions_are_those_of_the_model(model, folder, file, count):
    with torch.inference_mode():
        expected = model(batch(count))[0]

    found = load_backend(folder / file)(batch(count)).output

    assert found.dtype == torch.float32
    torch.testing.assert_close(found[..., :4], expected[..., :4], rtol=0, atol=1e-3)
    torch.testing.assert_close(found[..., 4:], expected[..., 4:], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("file", "fixed_size"), [("tiny.pt", None), ("dynamic.onnx", None), ("fixed.onnx", (64, 96))])
def test_names_stride_and_size_come_from_the_file(folder, file, fixed_size):
    backend = load_backend(folder / file)

    assert (backend.names, backend.stride, backend.fixed_size) == (NAMES, 16, fixed_size)


def test_a_file_for_one_size_refuses_another(folder):
    with pytest.raises(ConfigError, match="takes images of 64×96, not 96×64"):
        load_backend(folder / "fixed.onnx")(batch(1, 96, 64))


def test_an_unknown_suffix_is_answered_with_the_known_ones():
    known = [".pt", ".safetensors", ".torchscript", ".onnx", "_openvino_model", "_ncnn_model"]
    known += [".engine", ".mlpackage", "_saved_model", ".tflite"]
    assert known_suffixes() == known
    with pytest.raises(ConfigError, match=r"no backend runs \.pb") as error:
        load_backend("best.pb")
    assert error.value.fix == f"use {', '.join(known[:-1])} or {known[-1]}"


def test_a_missing_package_is_named(monkeypatch, folder):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name="onnxruntime")

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(ConfigError, match=r"\.onnx needs onnxruntime") as error:
        load_backend(folder / "dynamic.onnx")
    assert error.value.fix == "pip install onnxruntime"


def changed(folder, tmp_path, change):
    graph = onnx.load(folder / "dynamic.onnx")
    change(graph)
    onnx.save(graph, tmp_path / "x.onnx")
    return tmp_path / "x.onnx"


def with_metadata(**values):
    def change(graph):
        metadata = {entry.key: entry.value for entry in graph.metadata_props} | values
        helper.set_model_props(graph, {key: value for key, value in metadata.items() if value is not None})

    return change


@pytest.mark.parametrize(
    "names", [str(NAMES), json.dumps(NAMES), str(list(NAMES.values())), json.dumps(list(NAMES.values()))]
)
def test_names_may_be_json_or_python_literals(folder, tmp_path, names):
    assert load_backend(changed(folder, tmp_path, with_metadata(names=names))).names == NAMES


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"stride": None}, "the stride ''"),
        ({"stride": "0"}, "the stride '0'"),
        ({"stride": "9" * 5000}, "the stride '99999"),
        ({"stride": "-32"}, "the stride '-32'"),
        ({"names": None}, "hold 0 characters of class names"),
        ({"names": "x" * 2_000_000}, "hold 2000000 characters of class names"),
        ({"names": "__import__('os').system('touch executed')"}, "no table of names"),
        ({"names": "[" * 5000}, "no table of names"),
        ({"names": "{0: 'a', 'x': 'b', 2: 'c'}"}, "no table of names"),
        ({"names": "7"}, "no table of names"),
        ({"names": "{}"}, "0 class names are not numbered"),
        ({"names": "{0: 'a', 1e999: 'b', 2: 'c'}"}, "no table of names"),
        ({"names": '{"0": "a", "1e999": "b", "2": "c"}'}, "no table of names"),
        ({"names": "{0: 'a', 1: 'b', " + "9" * 5000 + ": 'c'}"}, "no table of names"),
        ({"names": "{0: 'a', 1: 'b', -2: 'c'}"}, "no table of names"),
        ({"names": "['a'" + "+'a'" * 100_000 + "]"}, "no table of names"),
        ({"names": "{0: 'a', 1: 'b', 3: 'c'}"}, "3 class names are not numbered 0 to 2"),
        ({"names": "{0: 'a', 1: 'b'}"}, "output is batch × anchors × 8 with 2 classes: neither"),
        ({"imgsz": "big"}, "name the image size 'big'"),
        ({"imgsz": "1e999"}, "image size is inf instead of pixels from 1"),
        ({"imgsz": "[64, 64, 64]"}, "image size is 64 64 64 instead of"),
        ({"imgsz": "0"}, "image size is 0 instead of"),
        ({"imgsz": "true"}, "image size is True instead of"),
        ({"verification": "[{}]"}, "no readable comparison"),
        ({"verification": '[{"shape": [1e999], "box_px": 0, "score": 0}]'}, "no readable comparison"),
        ({"task": "segment"}, "name the task 'segment'"),
    ],
)
def test_bad_metadata_is_refused_and_never_run(folder, tmp_path, monkeypatch, metadata, words):
    monkeypatch.chdir(tmp_path)
    weights = changed(folder, tmp_path, with_metadata(**metadata))

    with pytest.raises(CheckpointError, match=words):
        load_backend(weights)
    assert not (tmp_path / "executed").exists()


def in_other_file(graph):
    tensor = graph.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")


def in_other_file_inside_a_branch(graph):
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.zeros(3, np.float32)))
    constant.attribute[0].t.external_data.add(key="location", value="/etc/passwd")
    branch = helper.make_graph([constant], "branch", [], [])
    graph.graph.node.append(helper.make_node("If", ["condition"], ["y"], then_branch=branch, else_branch=branch))


def with_unknown_operator(graph):
    graph.graph.node[0].op_type = "Unheard"


def with_two_inputs(graph):
    graph.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (in_other_file, "keeps weights in other files"),
        (in_other_file_inside_a_branch, "keeps weights in other files"),
        (with_unknown_operator, "ONNX Runtime refuses it: .*Unheard"),
        (with_two_inputs, "instead of one batch of float images"),
    ],
)
def test_a_graph_that_cannot_be_trusted_or_run_is_refused(folder, tmp_path, change, words):
    with pytest.raises(CheckpointError, match=words) as error:
        load_backend(changed(folder, tmp_path, change))
    assert "\n" not in error.value.what


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ([1, 3, 64], [1, 3, 64], "instead of one batch of float images"),
        ([1, 3, 64, 64], [1, 3, 64, 64], r"output is 'y' .*\[1, 3, 64, 64\] instead of"),
    ],
)
def test_a_graph_of_another_kind_is_refused(tmp_path, source, target, words):
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, source)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, target)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "x.onnx")

    with pytest.raises(CheckpointError, match=words):
        load_backend(tmp_path / "x.onnx")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"<html>not found</html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"\xff" * 100, "not an ONNX file, or a damaged one"),
    ],
)
def test_a_file_that_is_no_onnx_file_is_told_apart(tmp_path, content, words):
    (tmp_path / "x.onnx").write_bytes(content)

    with pytest.raises(CheckpointError, match=words):
        load_backend(tmp_path / "x.onnx")


def test_a_truncated_or_missing_onnx_file_is_refused(folder, tmp_path):
    whole = (folder / "dynamic.onnx").read_bytes()
    (tmp_path / "x.onnx").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(CheckpointError, match="damaged"):
        load_backend(tmp_path / "x.onnx")
    with pytest.raises(CheckpointError, match="no such file"):
        load_backend(tmp_path / "y.onnx")


def test_a_half_precision_file_takes_and_returns_float32(tmp_path):
    shape = numpy_helper.from_array(np.array([1, -1, 8]), "shape")
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["images", "shape"], ["output0"])],
        "half",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT16, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT16, [1, 384, 8])],
        [shape],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"stride": "32", "names": str(NAMES)})
    onnx.save(model, tmp_path / "x.onnx")
    images = batch(2, 32, 32)

    found = load_backend(tmp_path / "x.onnx")(images).output

    torch.testing.assert_close(found, images.half().float().view(2, 384, 8), rtol=0, atol=0)
