"""Choose what runs a weights file by its suffix; a backend is the module of that name in this folder."""

import importlib
import pkgutil
from pathlib import Path

import torch

import utils.backends
from utils.checkpoint.facts import Backend
from utils.errors import ConfigError

NO_SUFFIX = ("choose", "dnn", "several")  # modules of the folder that are not named after one


def known_suffixes() -> list[str]:
    modules = (module.name for module in pkgutil.iter_modules(utils.backends.__path__))
    return sorted(f".{name}" for name in modules if name not in NO_SUFFIX)


def load_backend(
    weights: str | Path, device: str | torch.device = "cpu", backbone: str = "", layout: str = ""
) -> Backend:
    """Return the backend of a weights file; ``backbone`` is the command line's (see ``pt.load_trained``).

    ``layout`` is a name in ``utils.predictions.LAYOUTS``, for an exported file that does not tell which it has.
    Raises: ConfigError for an unknown suffix, a package that is not installed, a ``backbone`` or ``layout`` that the
    file does not need, CheckpointError for a bad file.
    """
    path = Path(weights)
    suffix = path.suffix.lower()
    if suffix not in known_suffixes():
        raise ConfigError(f"{path}: no backend runs {suffix or 'files without suffix'}", f"use {_listed()}")
    try:
        module = importlib.import_module(f"utils.backends.{suffix[1:]}")
    except ModuleNotFoundError as error:
        raise ConfigError(f"{path}: {suffix} files need {error.name}", f"pip install {error.name}") from error
    return module.load(path, torch.device(device), backbone, layout)


def _listed() -> str:
    *most, last = known_suffixes()
    return f"{', '.join(most)} or {last}"
