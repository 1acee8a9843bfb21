"""Run a TensorRT engine on the GPU: ours, or one with metadata in front of it as other programs write them.

In front of the engine stand a length (4 bytes, little-endian) and the metadata as JSON of that length. An engine holds
compiled code for the GPU; code for the processor in it is refused by TensorRT.
"""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from utils.backends.exported import OTHER_PROGRAM, ExportedBackend, Network, refuse_backbone
from utils.checkpoint.export_facts import EXPORT_AGAIN, MAX_METADATA, as_metadata, read_metadata
from utils.checkpoint.facts import read_imgsz
from utils.errors import CheckpointError, ConfigError
from utils.optional_import import import_optional
from utils.pixels import MAX_CHANNELS

GPU = "cuda"  # the kind of device
LENGTH = 4  # bytes in front of the metadata


def load(path: Path, device: torch.device, backbone: str = "", layout: str = "") -> ExportedBackend:
    """Return the engine on the GPU; ``layout`` as ``utils.backends.choose``. Raises: CheckpointError, ConfigError."""
    refuse_backbone(path, backbone)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file", "check the path; relative paths start at the current folder")
    if device.type != GPU:
        raise ConfigError(f"{path}: an engine runs on an NVIDIA GPU only", "give --device 0, or the .pt file")
    if device.index:
        torch.cuda.set_device(device)  # TensorRT takes that of the process
    table, content = _parts(path)
    facts = read_metadata(as_metadata(table, path), path)
    tensorrt = import_optional("tensorrt", path)
    runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
    engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        what = f"{path}: TensorRT {tensorrt.__version__} refuses it, as it does what another version or GPU has built"
        raise CheckpointError(what, EXPORT_AGAIN)
    source, answer = _ends(tensorrt, engine, path)
    batch, channels, *size = engine.get_tensor_shape(source)
    is_open = min(batch, *size) < 0
    most = tuple(engine.get_tensor_profile_shape(source, 0)[2]) if is_open else (batch, channels, *size)
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

    fixed = {} if is_open else {"batch": batch, "size": read_imgsz(size, path)}
    return ExportedBackend(path, device, Network(run, "TensorRT", channels=channels, **fixed), facts, layout)


def _parts(path: Path) -> tuple[Any, bytes]:
    """Return the metadata and the engine. Raises: CheckpointError where there are no metadata."""
    content = path.read_bytes()
    length = int.from_bytes(content[:LENGTH], "little")
    try:
        if not 0 < length <= MAX_METADATA:
            raise ValueError("no length of metadata")
        return json.loads(content[LENGTH : LENGTH + length]), content[LENGTH + length :]
    except (ValueError, RecursionError) as error:
        what = f"{path}: damaged, or an engine without metadata that name stride and classes"
        raise CheckpointError(what, OTHER_PROGRAM) from error


def _ends(tensorrt: ModuleType, engine: Any, path: Path) -> tuple[str, str]:
    """Return the names of the only input and the first output. Raises: CheckpointError for another kind of engine."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT]
    outputs = [name for name in names if name not in inputs]
    types = {engine.get_tensor_dtype(name) for name in [*inputs, *outputs]}
    shapes = [tuple(engine.get_tensor_shape(name)) for name in inputs]
    is_batch = len(shapes) == 1 and len(shapes[0]) == 4 and 1 <= shapes[0][1] <= MAX_CHANNELS
    if not is_batch or len(outputs) != 1 or types != {tensorrt.DataType.FLOAT}:
        what = f"{path}: takes {shapes[:3]} and gives {outputs[:3]} instead of float images (B, C, H, W) and boxes"
        raise CheckpointError(what, OTHER_PROGRAM)
    return inputs[0], outputs[0]
