"""Backbones: our own, one file per paper, listed when a name is first looked up; those of timm and torchvision by name;
and the user's own files.
"""

import importlib
import sys
from types import ModuleType

from models.backbones._names import can_have, registered_names
from models.registry import BACKBONES, BackboneEntry
from utils.errors import ConfigError
from utils.registry import import_plugins


def is_user_name(name: str) -> bool:
    """True for ``path/to/file.py:builder``."""
    return ".py:" in name


def resolve_backbone(name: str) -> BackboneEntry | None:
    """Return the backbone that a YAML row or ``--backbone`` calls ``name``; None for a name that no table has.

    Listed names and their aliases go first, then ``timm/NAME``, ``torchvision/NAME``, ``path/to/file.py:builder``, and
    last a bare name of timm. Raises: ConfigError for a name that only its prefix gives a meaning.
    """
    import_plugins(sys.modules[__name__])
    if name in BACKBONES:
        return BACKBONES.get(name)
    if is_user_name(name):
        return _part("user").user_entry(name)
    if name.endswith(".py"):
        raise ConfigError(f"{name}: a file, but no builder in it", f"name it as {name}:builder")
    library, slash, model = name.partition("/")
    if slash and library in ("timm", "torchvision"):
        part = _part(library)
        return part.timm_entry(model) if library == "timm" else part.torchvision_entry(model)
    is_timm = can_have("timm", name.partition(".")[0]) and _part("timm").is_timm_name(name)
    return _part("timm").timm_entry(name) if is_timm else None


def allow_user_file(name: str) -> None:
    """Let ``path/to/file.py:builder`` be named from now on, which runs the file: for names from the command line only.

    Other names are left alone. Raises: ConfigError when there is no such builder.
    """
    if is_user_name(name):
        _part("user").allow_user_file(name)


def known_backbones() -> dict[str, list[str]]:
    """Return the names that ``resolve_backbone`` knows by library: "" (listed ones, aliases), timm, torchvision."""
    import_plugins(sys.modules[__name__])
    own = [name for entry in BACKBONES for name in (entry, *BACKBONES.aliases(entry))]
    return {"": own} | {library: registered_names(library) for library in ("timm", "torchvision")}


def _part(name: str) -> ModuleType:
    """Import a file of this folder on demand: the libraries behind it take seconds, and most models need none."""
    return importlib.import_module(f"models.backbones._{name}")
