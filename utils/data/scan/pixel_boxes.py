"""Boxes in pixels as label rows: 0–1, inside the image, each that is none with the reason."""

from typing import NamedTuple

import numpy as np

EXACT = 1e-6  # of a side, by which a box may reach out as floats have it
ROUNDING = 1e-3


class PixelRows(NamedTuple):
    """Rows (n, 4) float64 [cx, cy, w, h]; ``why`` each is none, by its number."""

    rows: np.ndarray
    bad: dict[int, str]
    clipped: int
    rounded: int


def pixel_rows(boxes: np.ndarray, shape: tuple[int, int]) -> PixelRows:
    """Return boxes (n, 4) [cx, cy, w, h] in pixels of an image (height, width), cut off where it ends."""
    size = np.array([shape[1], shape[0]], np.float64)
    rows = boxes / np.tile(size, 2)
    rows[~np.isfinite(rows).all(1)] = np.nan
    low, high = rows[:, :2] - rows[:, 2:] / 2, rows[:, :2] + rows[:, 2:] / 2
    beyond = np.nan_to_num(np.maximum(-low, high - 1).max(1, initial=-np.inf))
    flat = (rows[:, 2:] <= 0).any(1)
    outside = (low >= 1).any(1) | (high <= 0).any(1)
    bad = {}
    for number in np.flatnonzero(np.isnan(rows).all(1) | flat | outside).tolist():
        bad[number] = _why(boxes[number], shape, bool(flat[number]))
    out = beyond > EXACT
    if out.any():
        inside = np.concatenate([low[out].clip(0, 1), high[out].clip(0, 1)], 1)
        rows[out] = extents_to_rows(inside)
    good = np.ones(len(rows), bool)
    good[list(bad)] = False
    return PixelRows(rows, bad, int((good & (beyond > ROUNDING)).sum()), int((good & out & (beyond <= ROUNDING)).sum()))


def extents_to_rows(extents: np.ndarray) -> np.ndarray:
    """Return (n, 4) [x1, y1, x2, y2] as [cx, cy, w, h], as ``label_file`` calculates the box of a polygon."""
    low, high = extents[:, :2], extents[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], 1)


def _why(box: np.ndarray, shape: tuple[int, int], is_flat: bool) -> str:
    if not np.isfinite(box).all():
        return "has no box of four numbers"
    cx, cy, width, height = box.tolist()
    if is_flat:
        return f"a box of width {width:g} and height {height:g} has no area"
    left, top = cx - width / 2, cy - height / 2
    return f"a box at {left:g}, {top:g} of {width:g}×{height:g} lies outside the image of {shape[1]}×{shape[0]}"
