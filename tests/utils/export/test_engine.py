"""TensorRT engines are built and run by the calls of its documentation; ONNX Runtime stands in for it, without a GPU.

The stand-in knows the names that are called and no others. An engine of its is the ONNX graph, and it reads and writes
at the addresses that it is given.
"""

import ctypes
import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny_detector import finding_model

import utils.backends.engine
import utils.export.engine
from utils.checkpoint.export_facts import EXPORT_AGAIN
from utils.errors import CheckpointError, ConfigError
from utils.export.deployed import deployable
from utils.export.order import Order
from utils.export.write import write_format
from utils.formats import named

SHAPE = (2, 3, 64, 96)


class Config:
    def __init__(self):
        self.limits, self.cleared, self.profiles = {}, [], []

    def set_memory_pool_limit(self, pool, size):
        self.limits[pool] = size

    def clear_flag(self, flag):
        self.cleared.append(flag)

    def add_optimization_profile(self, profile):
        self.profiles.append(profile)


class Profile:
    def set_shape(self, name, least, best, most):
        self.shapes = (name, least, best, most)


class Builder:
    config = None
    answers = True

    def __init__(self, logger):
        pass

    def create_network(self, flags):
        return SimpleNamespace(flags=flags)

    def create_builder_config(self):
        Builder.config = Config()
        return Builder.config

    def create_optimization_profile(self):
        return Profile()

    def build_serialized_network(self, network, config):
        return memoryview(network.content) if Builder.answers else None


class Parser:
    num_errors = 1

    def __init__(self, network, logger):
        self.network = network

    def parse(self, content):
        assert self.network.flags == 1 << 3
        self.network.content = content
        return Builder.answers is not None

    def get_error(self, index):
        return "node 7: no such operation"


class Runtime:
    def __init__(self, logger):
        pass

    def deserialize_cuda_engine(self, content):
        return Engine(content) if content[-4:] != b"\xff" * 4 else None


class Engine:
    num_io_tensors = 2

    def __init__(self, content):
        self.session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        self.ports = {port.name: port for port in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.shape = self.get_tensor_shape("images")

    def get_tensor_name(self, index):
        return list(self.ports)[index]

    def get_tensor_mode(self, name):
        return "input" if name == "images" else "output"

    def get_tensor_dtype(self, name):
        return "float"

    def get_tensor_shape(self, name):
        return tuple(size if isinstance(size, int) else -1 for size in self.ports[name].shape)

    def get_tensor_profile_shape(self, name, profile):
        return Builder.config.profiles[profile].shapes[1:]

    def create_execution_context(self):
        return Context(self)


class Context:
    def __init__(self, engine):
        self.engine, self.addresses = engine, {}

    def set_input_shape(self, name, shape):
        least, _, most = self.engine.get_tensor_profile_shape(name, 0) if -1 in self.engine.shape else [shape] * 3
        self.shape = shape
        return all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))

    def get_tensor_shape(self, name):
        self.found = self.engine.session.run(None, {"images": np.zeros(self.shape, np.float32)})[0]
        return self.found.shape

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def execute_async_v3(self, stream):
        size = int(np.prod(self.shape))
        images = np.ctypeslib.as_array((ctypes.c_float * size).from_address(self.addresses["images"]))
        found = self.engine.session.run(None, {"images": images.reshape(self.shape)})[0]
        ctypes.memmove(self.addresses["output0"], found.ctypes.data, found.nbytes)
        return True


@pytest.fixture
def tensorrt(monkeypatch):
    """Stand in for the package, with the CPU for the GPU; return the modules that write and run engines."""
    library = ModuleType("tensorrt")
    library.__version__ = "11.4"
    library.Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})
    library.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=3)
    library.MemoryPoolType, library.BuilderFlag = SimpleNamespace(WORKSPACE="workspace"), SimpleNamespace(TF32="tf32")
    library.TensorIOMode, library.DataType = SimpleNamespace(INPUT="input"), SimpleNamespace(FLOAT="float")
    library.Builder, library.OnnxParser, library.Runtime = Builder, Parser, Runtime
    monkeypatch.setitem(sys.modules, "tensorrt", library)
    modules = (utils.export.engine, utils.backends.engine)
    for module in modules:
        monkeypatch.setattr(module, "GPU", "cpu")
    stream = SimpleNamespace(cuda_stream=0, synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(Builder, "answers", True)
    return modules


def write(folder, backend, **options):
    order = Order(deployable(finding_model()), SHAPE, name="best", **options)
    return write_format(named("engine"), order, folder, lambda path: backend.load(path, torch.device("cpu")))


@pytest.mark.parametrize("half", [False, True])
def test_an_engine_is_built_in_the_types_of_the_graph_and_compared(tensorrt, tmp_path, half):
    _, backend = tensorrt

    written = write(tmp_path, backend, half=half, workspace=0.5)

    assert Builder.config.limits == {"workspace": 2**29}
    assert Builder.config.cleared == ["tf32"]
    assert not Builder.config.profiles
    assert len(written.comparisons) == 2
    content = written.path.read_bytes()
    length = int.from_bytes(content[:4], "little")
    facts = json.loads(content[4 : 4 + length])
    assert (facts["stride"], facts["imgsz"], len(facts["verification"])) == (16, [64, 96], 2)
    types = {tensor.data_type for tensor in onnx.load_from_string(content[4 + length :]).graph.initializer}
    assert (onnx.TensorProto.FLOAT16 in types) == half
    opened = backend.load(written.path, torch.device("cpu"))
    assert (opened.fixed_size, opened.stride, opened.names[0]) == ((64, 96), 16, "class 0")


def test_an_engine_of_open_sizes_takes_more_images_in_parts_and_none_beyond_its_profile(tensorrt, tmp_path):
    _, backend = tensorrt

    written = write(tmp_path, backend, dynamic=True)

    name, least, best, most = Builder.config.profiles[0].shapes
    assert (name, least, best, most) == ("images", (1, 3, 16, 16), SHAPE, (4, 3, 128, 192))
    assert [comparison.shape for comparison in written.comparisons][:2] == [(3, 3, 48, 80), SHAPE]
    opened = backend.load(written.path, torch.device("cpu"))
    images = torch.rand(9, 3, 48, 192)
    with torch.inference_mode():
        expected = finding_model()(images)[0]
    torch.testing.assert_close(opened(images).output, expected, rtol=0, atol=1e-3)
    with pytest.raises(CheckpointError, match=r"takes images of 4×3×128×192 at most"):
        opened(torch.rand(1, 3, 256, 96))


def test_an_engine_that_cannot_be_built_or_read_is_answered_in_a_sentence(tensorrt, tmp_path, monkeypatch):
    export, backend = tensorrt
    order = Order(deployable(finding_model()), SHAPE)
    for answer, words in ((False, "cannot build an engine"), (None, "cannot read the ONNX graph: node 7")):
        monkeypatch.setattr(Builder, "answers", answer)
        with pytest.raises(Exception, match=words):
            export.write(order, tmp_path / "x.engine")
    facts = json.dumps({"stride": 32, "names": ["a"]}).encode()
    for content, words in (
        (b"", "without metadata"),
        (b"\xff" * 100, "without metadata"),
        (len(facts).to_bytes(4, "little") + facts + b"\xff" * 4, "TensorRT 11.4 refuses it"),
    ):
        (tmp_path / "x.engine").write_bytes(content)
        with pytest.raises(CheckpointError, match=words) as error:
            backend.load(tmp_path / "x.engine", torch.device("cpu"))
    assert error.value.fix == EXPORT_AGAIN
    with pytest.raises(CheckpointError, match="no such file"):
        backend.load(tmp_path / "y.engine", torch.device("cpu"))


def test_without_a_gpu_an_engine_is_neither_built_nor_run(tensorrt, tmp_path, monkeypatch):
    export, backend = tensorrt
    for module in tensorrt:
        monkeypatch.setattr(module, "GPU", "cuda")
    (tmp_path / "x.engine").touch()

    for refused in (
        lambda: export.write(Order(None, SHAPE), tmp_path / "x.engine"),
        lambda: backend.load(tmp_path / "x.engine", torch.device("cpu")),
    ):
        with pytest.raises(ConfigError) as error:
            refused()
        assert "give --device 0" in error.value.fix
