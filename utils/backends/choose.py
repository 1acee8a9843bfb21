"""Choose what runs a weights file by its suffix; a backend is the module of that name in this folder."""

import importlib
import pkgutil
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

import utils.backends
from utils.checkpoint.facts import TrainingFacts
from utils.errors import ConfigError


class Backend(Protocol):
    """A detector that is ready to run, whatever wrote its file."""

    names: dict[int, str]
    stride: int  # image sides must be multiples of it
    fixed_size: tuple[int, int] | None  # height and width, where the file takes one size only
    trained: TrainingFacts

    def __call__(self, images: Tensor) -> Tensor:
        """Return predictions (B, N, 5 + nc), float32: cxcywh in pixels of ``images`` (B, 3, H, W) in 0–1, scores."""
        ...


def known_suffixes() -> list[str]:
    modules = (module.name for module in pkgutil.iter_modules(utils.backends.__path__))
    return sorted(f".{name}" for name in modules if name != __name__.rpartition(".")[2])


def load_backend(weights: str | Path, device: str | torch.device = "cpu", backbone: str = "") -> Backend:
    """Return the backend of a weights file; ``backbone`` is the command line's (see ``pt.load_trained``).

    Raises: ConfigError for an unknown suffix, a package that is not installed or a ``backbone`` that the file does not
    need, CheckpointError for a bad file.
    """
    path = Path(weights)
    suffix = path.suffix.lower()
    if suffix not in known_suffixes():
        raise ConfigError(f"{path}: no backend runs {suffix or 'files without suffix'}", f"use {_listed()}")
    try:
        module = importlib.import_module(f"utils.backends.{suffix[1:]}")
    except ModuleNotFoundError as error:
        raise ConfigError(f"{path}: {suffix} files need {error.name}", f"pip install {error.name}") from error
    return module.load(path, torch.device(device), backbone)


def _listed() -> str:
    return " or ".join(known_suffixes())
