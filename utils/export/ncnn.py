"""Write a detector for ncnn, with its converter pnnx: a folder with network, weights, and the facts as YAML.

It takes one size of images and, as ncnn does, one image at a time.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pnnx
import torch

from utils.export.compare import RejectedError, reason
from utils.export.order import Order
from utils.export.trace import quiet_exporter
from utils.text import one_line
from utils.yaml_file import write_yaml


def write(order: Order, path: Path) -> str:
    """Write the network into the folder; return what is to be said of it. Raises: RejectedError."""
    shape = (1, *order.shape[1:])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "network.pt")
        try:
            with quiet_exporter(), torch.no_grad():
                torch.jit.trace(order.model, torch.zeros(shape), check_trace=False).save(file)
        except Exception as error:  # PyTorch's errors have no class in common
            raise RejectedError(f"PyTorch cannot trace it: {reason(error)}") from error
        sizes = ",".join(map(str, shape))
        command = [pnnx.EXEC_PATH, str(file), f"inputshape=[{sizes}]", f"fp16={int(order.half)}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 no shell, our names
        made = [file.with_name(f"network.ncnn.{part}") for part in ("param", "bin")]
        if done.returncode or not all(part.is_file() for part in made):
            raise RejectedError(f"pnnx cannot convert it: {one_line(done.stderr[-200:]) or done.returncode}")
        for part in made:
            shutil.move(part, path / f"{order.name}{part.suffix}")
    return "written by pnnx"


def describe(path: Path, facts: Mapping[str, Any]) -> None:
    """Store the facts beside the network."""
    write_yaml(next(path.glob("*.param")).with_suffix(".yaml"), dict(facts))
