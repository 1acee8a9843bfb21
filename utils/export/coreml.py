"""Write a detector for CoreML, an ML program in a package (a folder) with the facts as its metadata.

coremltools writes it on any system; CoreML itself, and so the comparison with PyTorch, runs on macOS only.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from utils.export.compare import INPUT, OUTPUT, RejectedError, reason
from utils.export.order import Order
from utils.export.program import quiet_converter, static_program
from utils.optional_import import import_beside_torch

PROGRAM = Path("Data/com.apple.CoreML/model.mlmodel")  # in the package, as coremltools lays it out


def write(order: Order, path: Path) -> str:
    """Write the package, in float32; return what is to be said of it. Raises: RejectedError, ConfigError."""
    tools = _tools(path)
    program = static_program(order.model, order.shape)
    try:
        with quiet_converter(), torch.inference_mode(False), torch.no_grad():
            traced = torch.jit.trace(program, torch.zeros(order.shape), check_trace=False)
            model = tools.convert(
                traced,
                inputs=[tools.TensorType(INPUT, shape=order.shape)],
                outputs=[tools.TensorType(OUTPUT)],
                convert_to="mlprogram",
                compute_precision=tools.precision.FLOAT32,
                minimum_deployment_target=tools.target.iOS15,
                skip_model_load=True,
            )
            model.save(str(path))
    except Exception as error:  # its errors have no class in common
        raise RejectedError(f"coremltools cannot convert it: {reason(error)}") from error
    return f"written by coremltools {tools.__version__}, for iOS 15 and macOS 12 or newer"


def describe(path: Path, facts: Mapping[str, Any]) -> None:
    """Store the facts in the package, in place."""
    spec = _tools(path).models.utils.load_spec(str(path))
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
    spec.description.metadata.userDefined.clear()
    spec.description.metadata.userDefined.update(texts)
    (path / PROGRAM).write_bytes(spec.SerializeToString())


def _tools(path: Path) -> ModuleType:
    with quiet_converter():  # it lists what it lacks on other systems than macOS
        return import_beside_torch("coremltools", path)
