"""Backbones from the user's own files, named as ``path/to/file.py:builder``.

Importing a file runs it. A name in a model YAML or a checkpoint, which may be somebody else's, therefore runs nothing:
only ``allow_user_file``, which commands call for what stands on their command line, imports the file; from then on the
builder is listed in ``BACKBONES`` like any other.
"""

import functools
import importlib.util
import logging
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from models.backbones import is_user_name
from models.backbones._level_adapter import PROBES
from models.layers.observe import shadow
from models.registry import BACKBONES, BackboneEntry
from utils.errors import ConfigError
from utils.registry import suggest

log = logging.getLogger(__name__)

CONTRACT = "models/registry.py describes what a builder takes and returns"


def allow_user_file(name: str) -> None:
    """Import the file of ``path/to/file.py:builder`` and list its builder in ``BACKBONES`` under ``name``.

    Call it for names from the command line only. Raises: ConfigError when the file or the builder is not there, or the
    file cannot be imported.
    """
    if name in BACKBONES:
        return
    file, _, builder = name.rpartition(":")
    module = _import(Path(file))
    build = getattr(module, builder, None)
    if not callable(build):
        names = [key for key, value in vars(module).items() if isinstance(value, FunctionType)]
        raise ConfigError(f"{file}: has no builder {builder!r}", suggest(builder, names) or f"it has {names}")
    entry = BACKBONES.get(builder) if builder in BACKBONES else None  # by the file's own @register_backbone
    if entry is None or entry.build is not build:
        entry = BackboneEntry(build)
    BACKBONES.register(name)(replace(entry, build=checked(build, name)))


def user_entry(name: str) -> BackboneEntry:
    """Return the entry of an allowed file; another path to a file of the same name and builder will do.

    Raises: ConfigError when the command line did not name the file.
    """
    if name in BACKBONES:
        return BACKBONES.get(name)
    allowed = [other for other in BACKBONES if is_user_name(other)]
    found = [other for other in allowed if _tail(other) == _tail(name)]
    if len(found) != 1:
        file, builder = _tail(name)
        named = f"; you named {', '.join(allowed)}" if allowed else ""
        raise ConfigError(
            f"the backbone is the builder {builder!r} of a file {file}, which is code and runs only if you name it "
            f"yourself{named}",
            f"pass --backbone path/to/{file}:{builder}; in benchmark.py, --backbones",
        )
    return BACKBONES.get(found[0])


def _tail(name: str) -> tuple[str, str]:
    """Return (file name, builder), whichever system wrote the path."""
    file, _, builder = name.rpartition(":")
    return PureWindowsPath(file).name, builder  # which knows both / and \\


def _import(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file", "name it as path/to/file.py:builder")
    spec = importlib.util.spec_from_file_location("user_backbone" + re.sub(r"\W", "_", str(path.resolve())), path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise ConfigError(f"{path}: cannot be imported ({type(error).__name__}: {error})", "mend the file") from error
    return module


def checked(build: Callable[..., nn.Module], name: str) -> Callable[..., nn.Module]:
    """Return ``build`` with a check, on the meta device, that what it makes returns the maps that it declares."""

    @functools.wraps(build)
    def build_and_check(*, in_channels: int = 3, **options: Any) -> nn.Module:
        backbone = build(in_channels=in_channels, **options)
        if not isinstance(backbone, nn.Module):
            raise ConfigError(f"{name} returns {type(backbone).__name__}, not a torch.nn.Module", CONTRACT)
        _check_maps(backbone, in_channels, name)
        return backbone

    return build_and_check


def _check_maps(backbone: nn.Module, in_channels: int, name: str) -> None:
    declared = list(zip(backbone.feature_channels, backbone.reductions, strict=True))
    twin = shadow(backbone).eval()
    for height, width in PROBES:
        try:
            with torch.no_grad():
                maps = twin(torch.empty(1, in_channels, height, width, device="meta"))
        except NotImplementedError as error:  # an operation of the user's own, which only its device knows
            log.warning("%s: the shapes of its maps were not checked: %s", name, str(error).split("\n")[0])
            return
        wanted = [(1, channels, height // r, width // r) for channels, r in declared]
        found = [tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in maps]
        if found != wanted:
            raise ConfigError(f"{name} returns maps {found} of a {height}×{width} image, declared {wanted}", CONTRACT)
