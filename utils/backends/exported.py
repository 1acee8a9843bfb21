"""What all exported files have in common once a runtime has opened them: sizes, batches, metadata, the layout."""

import logging
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.checkpoint.export_facts import EXPORT_AGAIN, ExportFacts, as_metadata, read_metadata
from utils.checkpoint.output_layout import Shape, ambiguous, fitting, holds_nms, other_layout, possible_layouts
from utils.errors import CheckpointError, ConfigError
from utils.imgsz import MAX_IMGSZ
from utils.pixels import MAX_CHANNELS
from utils.predictions import Layout, Predictions
from utils.text import one_line
from utils.yaml_file import read_yaml

log = logging.getLogger(__name__)

MAX_NUMBERS = 2**31 - 1  # in the batch that a file asks for
OTHER_PROGRAM = "run it with the program that wrote it; read here is what export.py writes"


@dataclass(frozen=True)
class Network:
    """A file that a runtime has opened."""

    run: Callable[[Tensor], Tensor]  # images (B, C, H, W) of ``dtype`` → the output
    runtime: str  # its name
    batch: int | None = None  # where the file takes one size of batches only
    size: tuple[int, int] | None = None  # height, width, where it takes one size of images only
    channels: int | None = None  # of images; None where the file does not say, and its metadata do
    output: Shape = ()  # as the file declares it; empty where it does not say
    dtype: torch.dtype = torch.float32  # of the images


class ExportedBackend:
    """A network that is ready to run; a batch that is larger than the file's is run in parts."""

    def __init__(
        self, path: Path, device: torch.device, network: Network, facts: ExportFacts, layout: str = ""
    ) -> None:
        self.path, self.device, self.network, self.facts = path, device, network, facts
        self.stride, self.names, self.trained = facts.stride, facts.names, facts.trained
        self.fixed_size = network.size
        self.channels, self.bits = network.channels or facts.channels, facts.bits
        if facts.verification:
            log.info("%s: largest differences from PyTorch when it was exported: %s", path, facts.verification)
        self.layout = self._find_layout(possible_layouts(facts, layout))

    def __call__(self, images: Tensor) -> Predictions:
        if self.fixed_size not in (None, tuple(images.shape[2:])):
            height, width = self.fixed_size
            raise ConfigError(
                f"{self.path}: takes images of {height}×{width}, not {images.shape[2]}×{images.shape[3]}",
                "give images of that size, or export it anew with export.py --dynamic",
            )
        images = images.to(self.network.dtype).contiguous()
        size = self.network.batch or len(images)
        parts = [self._run(part, size) for part in images.split(size)]
        self._check_layout(parts[0].shape, [self.layout])
        return Predictions(torch.cat(parts).float().to(self.device), self.layout)

    def _run(self, images: Tensor, size: int) -> Tensor:
        """Return the predictions of at most ``size`` images; missing ones are filled up with zeros."""
        count = len(images)
        if count < size:
            images = torch.cat((images, images.new_zeros((size - count, *images.shape[1:]))))
        try:
            found = self.network.run(images)
        except Exception as error:  # the runtimes' errors have no class in common
            shape = "×".join(map(str, images.shape))
            raise CheckpointError(
                f"{self.path}: {self.network.runtime} cannot run it on images {shape}: {one_line(error, 200)}",
                EXPORT_AGAIN,
            ) from error
        if len(found) != size:
            raise CheckpointError(f"{self.path}: gives {len(found)} results for {size} images", EXPORT_AGAIN)
        return found[:count]

    def _find_layout(self, layouts: Sequence[Layout]) -> Layout:
        """Return the layout of the output. Raises: CheckpointError, ConfigError where it can be more than one."""
        shape = self.network.output
        if shape:
            layouts = self._check_layout(shape, layouts)
        if not shape or len(layouts) > 1 or not isinstance(shape[layouts[0].channel_axis], int):
            for cells in (2, 3) if self.fixed_size is None else (2,):  # numbers that agree by chance differ then
                shape = self._try(cells * self.stride).shape
                layouts = self._check_layout(shape, layouts)
        if len(layouts) > 1:
            raise ambiguous(str(self.path), shape, len(self.names))
        return layouts[0]

    def _check_layout(self, shape: Shape, layouts: Sequence[Layout]) -> list[Layout]:
        """Return those ``layouts`` that an output, declared or given, can have.

        Raises: CheckpointError where it has none of them, saying what it is.
        """
        nc = len(self.names)
        possible = [] if holds_nms(shape, nc, self.facts) else fitting(layouts, shape, nc)
        if not possible:
            shown = " × ".join(map(str, shape))
            what = f"{self.path}: its output is {shown} with {nc} classes: {other_layout(shape, nc, self.facts)}"
            raise CheckpointError(what, OTHER_PROGRAM)
        return possible

    def _try(self, side: int) -> Tensor:
        """Run zeros of side × 2·side: what the file leaves open shows only in a result."""
        height, width = self.fixed_size or (side, 2 * side)
        size = self.network.batch or 1
        images = torch.zeros((size, self.channels, height, width), dtype=self.network.dtype, device=self.device)
        return self._run(images, size)


def image_sizes(
    shapes: Sequence[Sequence[Any]], path: Path, types: Sequence[str] = (), floats: Container[str] = ("float32",)
) -> tuple[int | None, ...]:
    """Return B, C, H and W of the images that a file takes, None for open ones, which ``shapes`` has as None or text.

    ``shapes`` are those of all its inputs, ``types`` their types, as far as they are known; ``floats`` can be fed.
    Raises: CheckpointError unless it takes one batch of images, no larger than what can be made.
    """
    sizes = tuple(size if isinstance(size, int) else None for size in shapes[0]) if len(shapes) == 1 else ()
    fixed = [size for size in sizes if size is not None]
    is_batch = len(sizes) == 4 and min(fixed, default=1) >= 1 and prod(fixed) <= MAX_NUMBERS
    is_batch = is_batch and (sizes[1] or 1) <= MAX_CHANNELS and max(sizes[2] or 1, sizes[3] or 1) <= MAX_IMGSZ
    if is_batch and (sizes[2] is None) == (sizes[3] is None) and all(kind in floats for kind in types):
        return sizes
    found = " ".join([*types[:3], *(str(list(shape)) for shape in shapes[:3])])
    what = f"{path}: takes {found or 'nothing'} instead of one batch of float images (B, C, H, W)"
    raise CheckpointError(f"{what}, H and W both fixed or both open", OTHER_PROGRAM)


def refuse_backbone(path: Path, backbone: str) -> None:
    """Raises: ConfigError where ``--backbone`` is given with an exported file."""
    if backbone:
        raise ConfigError(f"--backbone {backbone}: {path} holds its backbone already", "leave --backbone out")


def only_file(path: Path, kind: str) -> Path:
    """Return the only file of a folder with this suffix. Raises: CheckpointError."""
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such folder", "check the path; relative paths start at the current folder")
    files = sorted(path.glob(f"*.{kind}"))
    if len(files) != 1:
        raise CheckpointError(f"{path}: holds {len(files)} .{kind} files instead of one network", EXPORT_AGAIN)
    return files[0]


def facts_beside(file: Path, fix: str) -> ExportFacts:
    """Return the facts in the .yaml beside the network of a folder. Raises: CheckpointError, with ``fix`` without."""
    try:
        table = read_yaml(file.with_suffix(".yaml"), text_keys=("names",))
    except ConfigError as error:
        raise CheckpointError(error.what, fix) from error
    return read_metadata(as_metadata(table, file.parent), file.parent)
