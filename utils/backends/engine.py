"""Run a TensorRT engine on the GPU: ours, or one with metadata in front of it as other programs write them.

An engine holds compiled code for the GPU; code for the processor in it is refused by TensorRT.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from utils.backends.exported import OTHER_PROGRAM, ExportedBackend, Network, image_sizes, refuse_backbone
from utils.checkpoint.engine_file import GPU, read_engine
from utils.checkpoint.export_facts import EXPORT_AGAIN, as_metadata, read_metadata
from utils.checkpoint.facts import read_imgsz
from utils.errors import CheckpointError, ConfigError
from utils.optional_import import import_optional


def load(path: Path, device: torch.device, backbone: str = "", layout: str = "") -> ExportedBackend:
    """Return the engine on the GPU; ``layout`` as ``utils.backends.choose``. Raises: CheckpointError, ConfigError."""
    refuse_backbone(path, backbone)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file", "check the path; relative paths start at the current folder")
    if device.type != GPU:
        raise ConfigError(f"{path}: an engine runs on an NVIDIA GPU only", "give --device 0, or the .pt file")
    if device.index:
        torch.cuda.set_device(device)  # TensorRT takes that of the process
    table, content = read_engine(path, OTHER_PROGRAM)
    facts = read_metadata(as_metadata(table, path), path)
    tensorrt = import_optional("tensorrt", path)
    runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
    engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        what = f"{path}: TensorRT {tensorrt.__version__} refuses it, as it does what another version or GPU has built"
        raise CheckpointError(what, EXPORT_AGAIN)
    source, answer, shape = _ends(tensorrt, engine, path)
    batch, channels, *size = shape
    most = tuple(engine.get_tensor_profile_shape(source, 0)[2]) if None in shape else shape
    context = engine.create_execution_context()

    def once(images: Tensor) -> Tensor:
        if not context.set_input_shape(source, tuple(images.shape)):
            raise RuntimeError(f"it takes images of {'×'.join(map(str, most))} at most")
        found = torch.empty(tuple(context.get_tensor_shape(answer)), device=device)
        context.set_tensor_address(source, images.data_ptr())
        context.set_tensor_address(answer, found.data_ptr())
        stream = torch.cuda.current_stream(device)
        if not context.execute_async_v3(stream.cuda_stream):
            raise RuntimeError("its execution failed")
        stream.synchronize()  # the images are not needed any more
        return found

    def run(images: Tensor) -> Tensor:
        return torch.cat([once(part.contiguous()) for part in images.to(device).split(most[0])])

    size = None if size[0] is None else read_imgsz(size, path)
    return ExportedBackend(path, device, Network(run, "TensorRT", batch, size, channels), facts, layout)


def _ends(tensorrt: ModuleType, engine: Any, path: Path) -> tuple[str, str, tuple[int | None, ...]]:
    """Return the names of the only input and output, and the shape (B, C, H, W) of the input, None for what is open.

    Raises: CheckpointError for another kind of engine.
    """
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT]
    outputs = [name for name in names if name not in inputs]
    shapes = [[size if size >= 0 else None for size in engine.get_tensor_shape(name)] for name in inputs]
    types = {name: str(engine.get_tensor_dtype(name)) for name in names}
    known = {str(tensorrt.DataType.FLOAT)}
    shape = image_sizes(shapes, path, [types[name] for name in inputs], known)
    if len(outputs) != 1 or types[outputs[0]] not in known:
        raise CheckpointError(f"{path}: gives {outputs[:3]} instead of boxes as one tensor of floats", OTHER_PROGRAM)
    return inputs[0], outputs[0], shape
