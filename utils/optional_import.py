"""Import packages that one format of files needs; most machines have none of them."""

import contextlib
import importlib
import os
from pathlib import Path
from types import ModuleType

from utils.errors import ConfigError


def import_optional(name: str, path: Path) -> ModuleType:
    """Return a package or module that the file at ``path`` needs. Raises: ConfigError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{path}: needs {error.name}", f"pip install {error.name}") from error


def import_beside_torch(name: str, path: Path) -> ModuleType:
    """Return, as ``import_optional`` does, a package that holds parts of TensorFlow, or imports it where it is there.

    Triton, which PyTorch imports late, has to come first: both hold LLVM, and where TensorFlow's is first the process
    ends in a segmentation fault.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("triton")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # else it describes the processor
    return import_optional(name, path)
