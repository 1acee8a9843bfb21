"""Training at sizes around that of the images: one for each batch, drawn from half to one and a half times of it."""

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from models.detector import DetectionModel
from utils.data.rng import Stream, generator
from utils.errors import ConfigError

LOW, HIGH = 0.5, 1.5  # of the size of the images
LEAST_GRID = 32  # pixels by which sizes differ at least


def size_grid(multiple: int) -> int:
    """Return the step between two sizes, in pixels: a multiple of what the model needs, 32 or more."""
    return -(-LEAST_GRID // multiple) * multiple


def check_sizes(model: DetectionModel, imgsz: int) -> None:
    """Raises: ConfigError for a model that does not take every size that may be drawn."""
    fix = "leave out --multi-scale"
    if model.fixed_size is not None:
        height, width = model.fixed_size
        raise ConfigError(f"--multi-scale: the backbone takes images of {height}×{width} only", fix)
    grid, limit = size_grid(model.size_multiple), getattr(model.backbone, "largest_size", None)
    largest = largest_size(imgsz, grid)
    if limit and largest > min(limit):
        what = f"--multi-scale: sizes up to {largest}, but the backbone takes images of up to {limit[0]}×{limit[1]}"
        raise ConfigError(what, f"{fix}, or give a smaller --imgsz")


def largest_size(imgsz: int, grid: int) -> int:
    """Return the longest side that can be drawn, in pixels."""
    return (int(HIGH * imgsz) + grid - 1) // grid * grid


def batch_size_px(imgsz: int, grid: int, rng: np.random.Generator) -> int:
    """Draw the longer side of a batch, a multiple of ``grid``: every whole number of the range is equally likely."""
    drawn = int(rng.integers(int(LOW * imgsz), int(HIGH * imgsz) + grid))
    return max(drawn // grid, 1) * grid


def resized(images: Tensor, size: int, grid: int) -> Tensor:
    """Return float images (B, 3, H, W) with the longer side ``size``, the other a multiple of ``grid``, rounded up."""
    longer = max(images.shape[-2:])
    if size == longer:
        return images
    shape = [-(-side * size // (longer * grid)) * grid for side in images.shape[-2:]]
    return F.interpolate(images, size=shape, mode="bilinear", align_corners=False)


def multi_scale(images: Tensor, grid: int, seed: int, epoch: int, batch: int) -> Tensor:
    """Return the images (B, 3, H, W) of batch (epoch, batch) at its size, which these numbers and the seed decide.

    A single image has two cells or more at the coarsest level: norms in training take no map of one value per channel.
    """
    longer = max(images.shape[-2:])
    size = batch_size_px(longer, grid, generator(seed, epoch, batch, Stream.SCALE))
    if len(images) == 1:
        size = max(size, min(2 * grid, longer))
    return resized(images, size, grid)
