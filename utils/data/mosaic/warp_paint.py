"""Draw images through matrices straight into the picture that the network sees.

A tile of a mosaic is resized, placed on the mosaic's canvas, and warped with it. Here these steps are one matrix, and
one call of OpenCV writes the pixels: no canvas of twice the size, nothing resized that is cut off afterwards.
RGB in four channels, because OpenCV warps them 1.7 times as fast as three.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from utils.data.mosaic.perspective import transform_points
from utils.pixels import resize

CORNERS = np.array([0, 1, 2, 1, 2, 3, 0, 3])  # of an xyxy rectangle
MARGIN = 2  # source pixels kept around what is visible, for the interpolation


@dataclass(frozen=True)
class Strokes:
    """What T paintings need, planned for a whole batch.

    ``source`` (T, 4) xyxy: the part of the image that is used, in its pixels; ``target`` (T, 4): the pixels of the
    picture that it reaches; ``forward`` (T, 3, 3): from image to picture; ``straight`` (T,): source and target are
    parallel, so that the rectangle is filled exactly; ``shrink`` (T,): averaging first, against aliasing;
    ``seen`` (T,): there is something to paint.
    """

    source: np.ndarray
    target: np.ndarray
    forward: np.ndarray
    straight: np.ndarray
    shrink: np.ndarray
    seen: np.ndarray


def canvas_channels(channels: int) -> int:
    """Return how many channels a picture is painted in."""
    return 4 if channels == 3 else channels


def plan_strokes(forward: np.ndarray, visible: np.ndarray, shape: tuple[int, int]) -> Strokes:
    """Plan painting the rectangles ``visible`` (T, 4) xyxy of T images through ``forward`` into ``shape`` (h, w)."""
    picture = np.array([0, 0, shape[1], shape[0]])  # xyxy
    # pixels of the picture that the rectangle reaches
    corners = transform_points(visible[:, CORNERS].reshape(-1, 4, 2), forward)
    target = np.ceil(np.concatenate([corners.min(1), corners.max(1)], 1) - 0.5).clip(
        0, np.tile(picture[2:], 2)
    )  # by pixel centres
    behind = _depth(forward, visible).min(1) <= 0  # perspective so strong that a corner lies behind the camera
    target[behind] = picture

    # pixels of the image that are needed for those; with perspective, all that are visible
    source = np.concatenate([np.round(visible[:, :2]), np.round(visible[:, 2:])], 1)
    flat = ~forward[:, 2, :2].any(1)
    needed = transform_points(target[flat][:, CORNERS].reshape(-1, 4, 2), np.linalg.inv(forward[flat]))
    low, high = np.floor(needed.min(1)) - MARGIN, np.ceil(needed.max(1)) + MARGIN
    source[flat] = np.concatenate([np.maximum(source[flat, :2], low), np.minimum(source[flat, 2:], high)], 1)

    # how to paint it
    straight = flat & (forward[:, 0, 1] == 0) & (forward[:, 1, 0] == 0)
    scale = np.sqrt(np.abs(np.linalg.det(forward[:, :2, :2])))
    shrink = 2 ** np.floor(np.log2(1 / np.minimum(scale, 1)))
    seen = ((source[:, 2:] > source[:, :2]) & (target[:, 2:] > target[:, :2])).all(1)
    return Strokes(source.astype(int), target.astype(int), forward, straight, shrink, seen)


def paint(picture: np.ndarray, image: np.ndarray, strokes: Strokes, index: int, mask: np.ndarray | None = None) -> None:
    """Draw an image (H, W, C) into ``picture`` (h, w, canvas_channels), in place, by the stroke ``index``.

    The stroke must be seen. ``mask`` (H, W) limits it to where that is 255.
    """
    left, top, right, bottom = strokes.source[index].tolist()
    x1, y1, x2, y2 = strokes.target[index].tolist()
    patch = image[top:bottom, left:right]
    if patch.shape[2] != picture.shape[2]:
        patch = cv2.cvtColor(patch, cv2.COLOR_RGB2RGBA)
    patch = _shrink(patch, strokes.shrink[index])
    step_x, step_y = (right - left) / patch.shape[1], (bottom - top) / patch.shape[0]
    # from OpenCV's indices of the patch, where the centre of the first pixel is 0, to those of the target
    into_image = np.array([[step_x, 0, left + step_x / 2], [0, step_y, top + step_y / 2], [0, 0, 1]])
    matrix = strokes.forward[index] @ into_image
    matrix[:2] -= np.array([[x1 + 0.5], [y1 + 0.5]]) * matrix[2]

    target = picture[y1:y2, x1:x2]
    if strokes.straight[index] and mask is None:
        _warp(patch, matrix, target, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
        return
    if mask is None:
        inside = np.full(patch.shape[:2], 255, np.uint8)
    else:
        inside = _shrink(mask[top:bottom, left:right, None], strokes.shrink[index])
    colors, covered = np.empty_like(target), np.empty(target.shape[:2], np.uint8)
    _warp(patch, matrix, colors, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
    _warp(inside, matrix, covered, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)
    cv2.copyTo(colors, cv2.threshold(covered, 127, 255, cv2.THRESH_BINARY)[1], target)


def _shrink(patch: np.ndarray, factor: float) -> np.ndarray:
    if factor <= 1:
        return patch
    size = [max(round(side / factor), 1) for side in patch.shape[1::-1]]
    return resize(patch, size, cv2.INTER_AREA)


def _warp(image: np.ndarray, matrix: np.ndarray, target: np.ndarray, interpolation: int, border: int) -> None:
    size = target.shape[1::-1]
    if matrix[2, :2].any():
        cv2.warpPerspective(image, matrix, size, dst=target, flags=interpolation, borderMode=border)
    else:
        cv2.warpAffine(image, matrix[:2] / matrix[2, 2], size, dst=target, flags=interpolation, borderMode=border)


def _depth(forward: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Return the divisor (T, 4) of the perspective at the corners."""
    corners = visible[:, CORNERS].reshape(-1, 4, 2)
    return (corners @ forward[:, 2, :2, None])[..., 0] + forward[:, 2, 2, None]
