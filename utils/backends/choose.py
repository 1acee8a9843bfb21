"""Choose what runs a weights file by the end of its name; a backend is the module of its format's name, or ``pt``."""

import importlib
from pathlib import Path

import torch

from utils.checkpoint.facts import Backend
from utils.errors import ConfigError
from utils.formats import FORMATS, format_of

CHECKPOINTS = (".pt", ".safetensors")  # which ``pt`` runs


def known_suffixes() -> list[str]:
    """Return the ends of the names of what can be run."""
    return [*CHECKPOINTS, *(form.suffix for form in FORMATS if form.is_written)]


def load_backend(
    weights: str | Path, device: str | torch.device = "cpu", backbone: str = "", layout: str = ""
) -> Backend:
    """Return the backend of a weights file or folder; ``backbone`` is the command line's (see ``pt.load_trained``).

    ``layout`` is a name in ``utils.predictions.LAYOUTS``, for an exported file that does not tell which it has.
    Raises: ConfigError for an unknown suffix, a package that is not installed, a ``backbone`` or ``layout`` that the
    file does not need, CheckpointError for a bad file.
    """
    path = Path(weights)
    form = format_of(path)
    suffix = form.suffix if form else path.suffix.lower()
    if suffix not in known_suffixes():
        raise ConfigError(f"{path}: no backend runs {suffix or 'files without suffix'}", f"use {_listed()}")
    try:
        module = importlib.import_module(f"utils.backends.{form.name if form else 'pt'}")
    except ModuleNotFoundError as error:
        raise ConfigError(f"{path}: {suffix} needs {error.name}", f"pip install {error.name}") from error
    return module.load(path, torch.device(device), backbone, layout)


def _listed() -> str:
    *most, last = known_suffixes()
    return f"{', '.join(most)} or {last}"
