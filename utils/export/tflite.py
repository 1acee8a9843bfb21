"""Write a detector as a LiteRT (TensorFlow Lite) file, with litert-torch; the facts are a ZIP archive behind it.

It takes images (B, C, H, W) of one size, as the other formats do. Readers of the format do not look behind its end, and
``unzip`` finds ``metadata.json`` there.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from utils.export.compare import RejectedError, reason
from utils.export.order import Order
from utils.export.program import quiet_converter, static_program
from utils.optional_import import import_beside_torch

RECORD = "metadata.json"


def write(order: Order, path: Path) -> str:
    """Write the network; return what is to be said of it. Raises: RejectedError."""
    with quiet_converter():  # it and its packages say much when they are imported
        litert_torch = import_beside_torch("litert_torch", path)
    program = static_program(order.model, order.shape)
    try:
        with quiet_converter(), torch.inference_mode(False), torch.no_grad():
            litert_torch.convert(program, (torch.zeros(order.shape),)).export(str(path))
    except Exception as error:  # its errors have no class in common
        raise RejectedError(f"litert-torch cannot convert it: {reason(error)}") from error
    return f"written by litert-torch {litert_torch.__version__}"


def describe(path: Path, facts: Mapping[str, Any]) -> None:
    """Store the facts in the file, in place."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            end = min(info.header_offset for info in archive.infolist())
        with path.open("rb+") as file:
            file.truncate(end)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(RECORD, json.dumps(dict(facts)))
