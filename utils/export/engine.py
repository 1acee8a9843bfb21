"""Build a TensorRT engine of a detector's ONNX graph, on the GPU that is to run it.

Precision is that of the graph: the network is strongly typed, and float32 is computed in float32, not in TF32. With
``dynamic`` it takes batches and sides from the smallest up to twice those of the order.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from utils.checkpoint.engine_file import GPU, read_engine, write_engine
from utils.checkpoint.export_facts import EXPORT_AGAIN
from utils.errors import ConfigError
from utils.export.compare import INPUT, RejectedError
from utils.export.order import Order
from utils.optional_import import import_optional
from utils.text import one_line


def write(order: Order, path: Path) -> str:
    """Write the engine; return what is to be said of it. Raises: RejectedError, ConfigError without a GPU."""
    if order.device.type != GPU:
        raise ConfigError("--include engine: TensorRT builds on the GPU that is to run the engine", "give --device 0")
    if order.device.index:
        torch.cuda.set_device(order.device)  # TensorRT takes that of the process
    tensorrt = import_optional("tensorrt", path)
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(order.final_graph().SerializeToString()):
        errors = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise RejectedError(f"TensorRT cannot read the ONNX graph: {one_line(errors, 300)}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, int(order.workspace * 2**30))
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    if order.dynamic:
        profile = builder.create_optimization_profile()
        profile.set_shape(INPUT, *profile_shapes(order))
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise RejectedError("TensorRT cannot build an engine of it; its messages above say why")
    write_engine(path, {}, bytes(engine))
    return f"built by TensorRT {tensorrt.__version__}"


def profile_shapes(order: Order) -> tuple[tuple[int, ...], ...]:
    """Return the smallest shape of images, the one to be fast at, and the largest."""
    batch, channels, height, width = order.shape
    stride = order.model.detector.size_multiple
    largest = (2 * batch, channels, max(2 * height, 4 * stride), max(2 * width, 4 * stride))
    return (1, channels, stride, stride), order.shape, largest


def describe(path: Path, facts: Mapping[str, Any]) -> None:
    """Store the facts in the file, in place."""
    write_engine(path, facts, read_engine(path, EXPORT_AGAIN)[1])
