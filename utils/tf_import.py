"""Import what brings TensorFlow along into a process that has PyTorch."""

import contextlib
import importlib
import os
from types import ModuleType
from typing import Any

from utils.errors import ConfigError


def import_beside_torch(name: str, path: Any) -> ModuleType:
    """Return a package that is or imports TensorFlow, for the file at ``path``. Raises: ConfigError without it.

    Triton, which PyTorch imports late, has to be there first: both hold LLVM, and where TensorFlow's is first the
    process ends in a segmentation fault.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("triton")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # else it describes the processor
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{path}: needs {error.name}", f"pip install {error.name}") from error
