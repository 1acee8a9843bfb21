"""The losses, found by the class of the head whose maps they judge."""

import sys
from collections.abc import Mapping
from typing import Any

from utils.losses._contract import LOSSES, Loss, LossEntry
from utils.registry import import_plugins

import_plugins(sys.modules[__name__])


def find_loss(head: type) -> LossEntry:
    """Return the loss for a class of heads. Raises: ConfigError where there is none."""
    return LOSSES.get(head.__name__)


def build_loss(head: Any, hyp: Mapping[str, Any], imgsz: int) -> Loss:
    """Return the loss of a head whose strides are known, with the gains of ``hyp`` for images of ``imgsz`` pixels."""
    return find_loss(type(head)).build(head, hyp, imgsz)
