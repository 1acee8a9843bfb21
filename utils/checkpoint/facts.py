"""What a weights file says about the training that it comes from, and what it has to offer once it runs."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from utils.checkpoint.content import Checkpoint
from utils.checkpoint.tables import describe
from utils.errors import CheckpointError
from utils.imgsz import MAX_IMGSZ
from utils.predictions import Layout, Predictions

log = logging.getLogger(__name__)

DEFAULT_DATA = "data/shapes.yaml"
DEFAULT_IMGSZ = 640
MAX_PATH = 4096  # characters


@dataclass(frozen=True)
class TrainingFacts:
    """Data-set YAML and image size of a weights file; None where it does not say."""

    data: str | None = None
    imgsz: tuple[int, int] | None = None  # height, width
    classes: tuple[str, ...] = ()  # the option --classes of the training
    is_export: bool = False  # an exported file was made for a size that need not be the training's

    def default_data(self) -> str:
        """Return the data set to evaluate on where the user names none, and log which."""
        log.info("data: %s (%s)", self.data or DEFAULT_DATA, "that of the training" if self.data else "the default")
        return self.data or DEFAULT_DATA

    def default_imgsz(self) -> tuple[int, int]:
        """Return height and width of the images to use where the user names none, and log which."""
        height, width = self.imgsz or (DEFAULT_IMGSZ, DEFAULT_IMGSZ)
        whose = f"that of the {'export' if self.is_export else 'training'}" if self.imgsz else "the default"
        log.info("imgsz: %s (%s)", height if height == width else f"{height} {width}", whose)
        return height, width


class Backend(Protocol):
    """A detector that is ready to run, whatever wrote its file (see ``utils.backends``)."""

    names: dict[int, str]
    stride: int  # image sides must be multiples of it
    fixed_size: tuple[int, int] | None  # height and width, where the file takes one size only
    trained: TrainingFacts
    layout: Layout  # of its predictions
    channels: int  # of images; 3 are RGB
    bits: int  # of the values of the images that it was trained with, 8 or 16

    def __call__(self, images: Tensor) -> Predictions:
        """Return what is in ``images`` (B, channels, H, W) in 0–1, in their pixels, float32."""
        ...


def checkpoint_facts(checkpoint: Checkpoint) -> TrainingFacts:
    """Return what a checkpoint says. Raises: CheckpointError where an entry is of another kind."""
    options = (checkpoint.facts.get("training") or {}).get("opt")
    options = options if isinstance(options, dict) else {}
    return TrainingFacts(
        read_data(options.get("data"), checkpoint.path),
        read_imgsz(checkpoint.facts.get("imgsz"), checkpoint.path),
        _read_classes(options.get("classes"), checkpoint.path),
    )


def read_data(value: Any, path: Path) -> str | None:
    """Return the data set that the file at ``path`` names. Raises: CheckpointError unless it is a path or nothing."""
    if value is None or (isinstance(value, str) and len(value) <= MAX_PATH and (value.isprintable() or not value)):
        return value or None
    raise CheckpointError(f"{path}: its data set is {describe(value)} instead of the path of a YAML", _REWRITE)


def read_imgsz(value: Any, path: Path) -> tuple[int, int] | None:
    """Return height and width from one number, two, or nothing. Raises: CheckpointError for anything else."""
    if value is None:
        return None
    sides = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(sides) == 2 and all(type(side) is int and 1 <= side <= MAX_IMGSZ for side in sides):
        return sides
    shown = " ".join(map(describe, sides[:4])) if isinstance(value, list | tuple) else describe(value)
    raise CheckpointError(f"{path}: its image size is {shown} instead of pixels from 1 to {MAX_IMGSZ}", _REWRITE)


def _read_classes(value: Any, path: Path) -> tuple[str, ...]:
    """Return the chosen classes of a training, from a list of texts or nothing. Raises: CheckpointError."""
    if value is None:
        return ()
    if isinstance(value, list | tuple) and all(isinstance(text, str) for text in value):
        return tuple(value)
    raise CheckpointError(f"{path}: its classes are {describe(value)} instead of a list of texts", _REWRITE)


_REWRITE = "write the file again with train.py or export.py; that entry was changed by something else"
