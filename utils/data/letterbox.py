"""Fit an image into a given size without changing its proportions, with a gray border around it."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from utils.pixels import resize

BORDER = 114  # of 255: gray of what no image covers


def border(dtype: type | np.dtype) -> int:
    """Return the value of what no image covers, in the range of ``dtype``: uint8 or uint16."""
    return BORDER * (np.iinfo(dtype).max // 255)


@dataclass(frozen=True, slots=True)
class Fit:
    """Where a letterboxed image lies: ``size`` (width, height) of pixels at (``left``, ``top``) in ``shape`` (h, w).

    ``pad`` is half of the border, in floats: the position that labels and detections are computed with.
    """

    ratio: float
    size: tuple[int, int]
    pad: tuple[float, float]
    shape: tuple[int, int]

    @property
    def left(self) -> int:
        return round(self.pad[0] - 0.1)

    @property
    def top(self) -> int:
        return round(self.pad[1] - 0.1)


def fit(
    shape: Sequence[int], new_shape: Sequence[int], auto: bool = False, scaleup: bool = True, stride: int = 32
) -> Fit:
    """Return how an image of ``shape`` (h, w) fits into ``new_shape`` (h, w).

    ``auto`` keeps only as much border as makes both sides multiples of ``stride`` apart from the target's;
    without ``scaleup`` a small image is not enlarged.
    """
    height, width = (int(side) for side in shape)
    ratio = min(new_shape[0] / height, new_shape[1] / width)
    if not scaleup:
        ratio = min(ratio, 1.0)
    size = (max(round(width * ratio), 1), max(round(height * ratio), 1))
    border_w, border_h = new_shape[1] - size[0], new_shape[0] - size[1]
    if auto:
        border_w, border_h = border_w % stride, border_h % stride
    shape = (size[1] + border_h, size[0] + border_w)
    return Fit(ratio, size, (border_w / 2, border_h / 2), shape)


def letterbox(
    image: np.ndarray,
    new_shape: int | Sequence[int] = 640,
    color: int | None = None,
    auto: bool = False,
    scaleup: bool = True,
    stride: int = 32,
) -> tuple[np.ndarray, tuple[float, float], tuple[float, float]]:
    """Return the image (H, W, C) inside its border, the ratio (w, h) and half of the border (w, h) in pixels.

    ``color`` is the value of the border, by default ``border``.
    """
    target = (new_shape, new_shape) if isinstance(new_shape, int) else new_shape
    place = fit(image.shape[:2], target, auto, scaleup, stride)
    canvas = np.full((*place.shape, image.shape[2]), border(image.dtype) if color is None else color, image.dtype)
    paste(canvas, image, place)
    return canvas, (place.ratio, place.ratio), place.pad


def paste(canvas: np.ndarray, image: np.ndarray, place: Fit) -> None:
    """Write the image, resized, into its place on ``canvas`` (H, W, C), which changes in place."""
    width, height = place.size
    inside = canvas[place.top : place.top + height, place.left : place.left + width]
    if image.shape[:2] == (height, width):
        inside[...] = image
    else:
        resize(image, (width, height), cv2.INTER_LINEAR, dst=inside)
