"""Write a detector as TorchScript: a trace of its predictions, and the facts as JSON in the record ``config.txt``.

``shape`` among the facts is that of the images, as YOLOv5 writes it; with ``dynamic`` it is one of many.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from utils.export.compare import RejectedError, reason
from utils.export.graph import other_shape
from utils.export.order import Order
from utils.export.trace import quiet_exporter

RECORD = "config.txt"


def write(order: Order, path: Path) -> str:
    """Write the trace; return what is to be said of it. Raises: RejectedError.

    It is traced at another size than the order's where the file is to take any, so that the comparison at that of the
    order shows a size that the trace has frozen.
    """
    if order.half and order.device.type == "cpu":
        raise RejectedError("float16 in TorchScript is for GPUs, and this one was to be written on the CPU")
    shape = other_shape(order.shape, order.model.detector.size_multiple) if order.dynamic else order.shape
    dtype = torch.float16 if order.half else torch.float32
    model = order.model.to(order.device, dtype)
    try:
        with quiet_exporter(), torch.inference_mode(False), torch.no_grad():
            module = torch.jit.trace(model, torch.zeros(shape, dtype=dtype, device=order.device), check_trace=False)
    except Exception as error:  # its errors have no class in common
        raise RejectedError(f"PyTorch cannot trace it: {reason(error)}") from error
    finally:
        order.model.to("cpu", torch.float32)
    form = {"shape": list(order.shape), "dynamic": order.dynamic, "half": order.half}
    _save(module, path, form)
    return f"traced by PyTorch {torch.__version__}"


def describe(path: Path, facts: Mapping[str, Any]) -> None:
    """Store the facts in the file, in place."""
    records = {RECORD: ""}
    with quiet_exporter():
        module = torch.jit.load(path, map_location="cpu", _extra_files=records)
    _save(module, path, json.loads(records[RECORD]) | dict(facts))


def _save(module: torch.jit.ScriptModule, path: Path, table: Mapping[str, Any]) -> None:
    content = io.BytesIO()  # a disk that is full ends the process where PyTorch writes to it
    with quiet_exporter():
        torch.jit.save(module, content, _extra_files={RECORD: json.dumps(table)})
    path.write_bytes(content.getbuffer())
