"""Backbones, one file per paper; they are imported when a model YAML first names one."""

import sys

from models.registry import BACKBONES, BackboneEntry
from utils.registry import import_plugins


def resolve_backbone(name: str) -> BackboneEntry | None:
    """Return the backbone that a YAML row or ``--backbone`` calls ``name``, or None."""
    import_plugins(sys.modules[__name__])
    return BACKBONES.get(name) if name in BACKBONES else None
