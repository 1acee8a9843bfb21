"""Tell whether a label row that could be a polygon could as well be several boxes, or a box with keypoints.

A class in front of k boxes has 1 + 4k columns, as a polygon of 2k points has. Along a polygon the next point is nearer
than the one after it; in a list of boxes centre and size take turns, so that the one after it, of the same kind, is
nearer. ``closeness`` is the ratio of both distances, summed up: over 1 for every convex polygon of four or more points,
under 1 on average for boxes. The row is open to both readings where every box lies inside the image, and

* the closeness is under 1, or the points lie on one line, for up to three boxes, or
* the closeness is under 1.2 and the polygon crosses itself, for any number.

Several whole rows in one line, and a box with keypoints, are told by the whole numbers in the places of class ids or
visibilities: coordinates of a polygon are whole numbers at the border of the image only.

A polygon that is taken for boxes is read once its first point stands at the end again.
"""

from collections.abc import Sequence
from operator import sub

import numpy as np

INSIDE = 1e-3  # rounding that a box may reach outside by
FEW_BOXES = 3
MAX_CLOSENESS = 1.2
FLAT = 1e-9  # area of points on one line, as floats have it
MAX_POINTS = 500  # of a polygon whose every pair of sides is looked at
BOX_COLUMNS = 5
MIN_KEYPOINTS = 4
VISIBILITIES = frozenset("012")


def joined_rows(fields: Sequence[str]) -> str:
    """Return how a row of texts reads as boxes, each with its class, or as a box with keypoints, if it does."""
    columns = len(fields)
    boxes, rest = divmod(columns, BOX_COLUMNS)
    if boxes > 1 and not rest and _are_indices(fields[::BOX_COLUMNS]):
        starts = range(1, columns, BOX_COLUMNS)
        return f"{boxes} boxes in one line" if all(_is_box(fields[start : start + 4]) for start in starts) else ""
    points, rest = divmod(columns - BOX_COLUMNS, 3)
    if points >= MIN_KEYPOINTS and not rest and VISIBILITIES.issuperset(fields[BOX_COLUMNS + 2 :: 3]):
        return f"a box with {points} keypoints" if _is_box(fields[1:BOX_COLUMNS]) else ""
    return ""


def boxes_after_class(coordinates: Sequence[float]) -> int:
    """Return how many boxes the points of a polygon, x and y in turn, could be as well; 0 for a polygon."""
    if len(coordinates) % 4:
        return 0
    for cx, cy, w, h in zip(*(iter(coordinates),) * 4, strict=True):
        if not (0 < w < 2 * min(cx, 1 - cx) + INSIDE and 0 < h < 2 * min(cy, 1 - cy) + INSIDE):
            return 0
    points = list(map(complex, coordinates[::2], coordinates[1::2]))
    boxes, closeness = len(points) // 2, _closeness(points)
    if boxes <= FEW_BOXES and (closeness < 1 or abs(_area(points)) < FLAT):
        return boxes
    if len(points) > MAX_POINTS:
        return boxes if closeness < 1 else 0
    return boxes if closeness < MAX_CLOSENESS and _crosses_itself(points) else 0


def _are_indices(fields: Sequence[str]) -> bool:
    return all(field.isascii() and field.isdigit() for field in fields)


def _is_box(fields: Sequence[str]) -> bool:
    try:
        cx, cy, w, h = map(float, fields)
    except ValueError:
        return False
    return 0 <= cx <= 1 and 0 <= cy <= 1 and 0 < w <= 1 and 0 < h <= 1


def _closeness(points: list[complex]) -> float:
    """Return the way around by every other point, twice, divided by the way around by all."""
    steps = sum(map(abs, map(sub, points, points[1:] + points[:1])))
    leaps = sum(map(abs, map(sub, points, points[2:] + points[:2])))
    return leaps / steps if steps else 0.0


def _area(points: list[complex]) -> float:
    """Return the area that the polygon encloses, signed by its direction."""
    return sum((a.conjugate() * b).imag for a, b in zip(points, points[1:] + points[:1], strict=True)) / 2


def _crosses_itself(points: list[complex]) -> bool:
    """True where two sides of the polygon cross."""
    start = np.array(points)
    end = np.roll(start, -1)
    side = (end - start)[:, None]

    def turn(point: np.ndarray) -> np.ndarray:  # (n,) → (n, n): to which side of every line the points lie
        return np.sign((side.conj() * (point[None] - start[:, None])).imag)

    parted = turn(start) * turn(end)
    return bool(((parted < 0) & (parted.T < 0)).any())
