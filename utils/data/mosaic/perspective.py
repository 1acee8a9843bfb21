"""The random warp of an image: rotation, scale, shear, translation and perspective, and what it does to labels.

All positions are pixels measured from the left and top edge of the image, so that an image W wide spans 0…W and the
centre of its first pixel is at 0.5. Every function works on all pictures, or all objects, of a batch at once.
"""

import numpy as np

from utils.data.mosaic.ragged import Ragged

DRAWS = 8  # perspective x, y · angle · scale · shear x, y · translation x, y
SCALE = 3  # its place among them
POLYGON_POINTS = 1000
MIN_SIDE = 2.0  # pixels
MAX_ASPECT = 100.0
BOX_AREA_LEFT, POLYGON_AREA_LEFT = 0.10, 0.01  # share of its area that an object must keep


def warp_ranges(
    degrees: float, translate: float, scale: float, shear: float, perspective: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest value (8,) of each drawn number; degrees, shares of the output's sides."""
    middle = np.array([0, 0, 0, 1, 0, 0, 0.5, 0.5])
    spread = np.array([perspective, perspective, degrees, scale, shear, shear, translate, translate])
    return middle - spread, middle + spread


def warp_matrices(draws: np.ndarray, canvas: np.ndarray, output: tuple[float, float]) -> np.ndarray:
    """Return (P, 3, 3), from a canvas to the output, for the drawn values (P, 8) and canvas sizes (P, 2) [w, h].

    ``output`` is (width, height). The canvas is centred, gets perspective, rotation with scale, shear, and is moved.
    """
    count = len(draws)
    perspective_x, perspective_y, angle, scale, shear_x, shear_y, move_x, move_y = draws.T
    centre, perspective, rotation, shear, move = (np.tile(np.eye(3), (count, 1, 1)) for _ in range(5))
    centre[:, :2, 2] = -np.asarray(canvas) / 2
    perspective[:, 2, 0], perspective[:, 2, 1] = perspective_x, perspective_y
    cosine, sine = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
    rotation[:, 0, 0] = rotation[:, 1, 1] = cosine
    rotation[:, 0, 1], rotation[:, 1, 0] = sine, -sine
    shear[:, 0, 1], shear[:, 1, 0] = np.tan(np.radians(shear_x)), np.tan(np.radians(shear_y))
    move[:, 0, 2], move[:, 1, 2] = move_x * output[0], move_y * output[1]
    return move @ shear @ rotation @ perspective @ centre


def transform_points(points: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Return points (N, K, 2) mapped by the matrix (N, 3, 3) of their row."""
    moved = points @ matrices[:, :2, :2].transpose(0, 2, 1) + matrices[:, None, :2, 2]
    if not matrices[:, 2, :2].any():
        return moved
    return moved / (points @ matrices[:, 2, :2, None] + matrices[:, 2, 2, None, None])


def transform_boxes(boxes: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Return the upright xyxy boxes around the mapped corners of ``boxes`` (N, 4) xyxy; not clipped."""
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    corners = transform_points(corners, matrices)
    return np.concatenate([corners.min(1), corners.max(1)], 1)


def polygon_boxes(polygons: Ragged, matrices: np.ndarray, output: tuple[float, float]) -> np.ndarray:
    """Return the xyxy boxes (N, 4) around what is inside the output of each mapped polygon; zeros where nothing is.

    An outline is followed in 1000 steps that are even in the number of corners passed, not in length.
    """
    count = len(polygons)
    lengths = polygons.lengths[:, None]
    position = np.linspace(0, 1, POLYGON_POINTS) * lengths  # the last corner is followed by the first again
    before = np.minimum(position.astype(np.int64), lengths - 1)
    share = (position - before)[..., None]
    first = polygons.starts[:-1, None]
    start, end = polygons.values[first + before], polygons.values[first + (before + 1) % lengths]
    points = transform_points(start + (end - start) * share, matrices)  # (N, 1000, 2)
    inside = ((points >= 0) & (points <= output)).all(2, keepdims=True)
    low = np.where(inside, points, np.inf).min(1, initial=np.inf)
    high = np.where(inside, points, -np.inf).max(1, initial=-np.inf)
    boxes = np.concatenate([low, high], 1)
    return np.where(inside.any(1).reshape(count, 1), boxes, 0.0)


def warp_labels(
    boxes: np.ndarray, polygons: Ragged | None, matrices: np.ndarray, scale: np.ndarray, output: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the new xyxy boxes (N, 4) inside the output, and (N,) which objects are still worth learning.

    ``boxes`` (N, 4) xyxy on the canvas, a matrix and a drawn scale for each. An object with a polygon gets the box
    of what is visible of the polygon, another one the box around its mapped corners.
    """
    new = transform_boxes(boxes, matrices).clip(0, [*output, *output])
    area_left = np.full(len(boxes), BOX_AREA_LEFT)
    if polygons is not None:
        outlined = np.flatnonzero(polygons.lengths)
        new[outlined] = polygon_boxes(polygons.take(outlined), matrices[outlined], output)
        area_left[outlined] = POLYGON_AREA_LEFT
    return new, is_learnable(boxes * scale[:, None], new, area_left)


def is_learnable(old: np.ndarray, new: np.ndarray, area_left: np.ndarray | float = BOX_AREA_LEFT) -> np.ndarray:
    """Return (N,) which boxes are still wide and high enough, not too thin, and show enough of the old area."""
    old_width, old_height = (old[:, 2:] - old[:, :2]).T
    width, height = (new[:, 2:] - new[:, :2]).T
    large = (width > MIN_SIDE) & (height > MIN_SIDE)
    visible = width * height / (old_width * old_height + 1e-16) > area_left
    aspect = np.maximum(width / (height + 1e-16), height / (width + 1e-16))
    return large & visible & (aspect < MAX_ASPECT)
