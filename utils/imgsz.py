"""Image sizes that a detector can take."""

import logging
import math
from collections.abc import Sequence

from utils.errors import ConfigError

log = logging.getLogger(__name__)

MAX_IMGSZ = 32767  # pixels; OpenCV warps no larger pictures


def both_sides(imgsz: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width) for the side of a square, alone or in a sequence, or for height and width."""
    height, *width = imgsz if isinstance(imgsz, Sequence) else (imgsz,)
    return height, *(width or (height,))


def fit_shape(imgsz: int | Sequence[int], stride: int) -> tuple[int, int]:
    """Return (height, width), each rounded up as ``fit_imgsz`` does. Raises: ConfigError for a size below one pixel."""
    height, width = both_sides(imgsz)
    fitted = fit_imgsz(height, stride)
    return fitted, fitted if width == height else fit_imgsz(width, stride)


def fit_imgsz(imgsz: int, stride: int) -> int:
    """Return ``imgsz`` rounded up to a multiple of the coarsest stride, at least two cells, and say so if it differs.

    Raises: ConfigError for a size below one pixel.
    """
    if imgsz < 1:
        raise ConfigError(f"--imgsz {imgsz} is too small", f"give at least {2 * stride}")
    fitted = rounded_up(imgsz, stride)
    if fitted != imgsz:
        log.warning("--imgsz %d is no multiple of the stride %d, or under two cells; using %d", imgsz, stride, fitted)
    return fitted


def rounded_up(imgsz: int, stride: int) -> int:
    """Return the next multiple of the coarsest stride, at least two cells."""
    return max(math.ceil(imgsz / stride), 2) * stride
