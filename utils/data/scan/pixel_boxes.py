"""Boxes in pixels as label rows: 0–1, inside the image, each that is none with the reason."""

from typing import NamedTuple

import numpy as np

EXACT = 1e-6  # of a side, by which a box may reach out as floats have it
ROUNDING = 1e-3


class PixelRows(NamedTuple):
    """Rows (n, 4) float64 [cx, cy, w, h]; ``bad`` is why one is none, by its number."""

    rows: np.ndarray
    bad: dict[int, str]
    clipped: np.ndarray  # (n,) bool
    rounded: np.ndarray  # (n,) bool: clipped by no more than a rounding error


def pixel_rows(boxes: np.ndarray, shapes: np.ndarray) -> PixelRows:
    """Return boxes (n, 4) [cx, cy, w, h] in pixels of images (n, 2) [height, width], cut off where these end."""
    rows = boxes / np.tile(shapes[:, ::-1], 2)
    rows[~np.isfinite(rows).all(1)] = np.nan
    low, high = rows[:, :2] - rows[:, 2:] / 2, rows[:, :2] + rows[:, 2:] / 2
    beyond = np.nan_to_num(np.maximum(-low, high - 1).max(1, initial=-np.inf))
    flat = (rows[:, 2:] <= 0).any(1)
    wrong = np.isnan(rows).all(1) | flat | (low >= 1).any(1) | (high <= 0).any(1)
    bad = {number: _why(boxes[number], shapes[number], bool(flat[number])) for number in np.flatnonzero(wrong).tolist()}
    out = beyond > EXACT
    rows[out] = extents_to_rows(np.concatenate([low[out].clip(0, 1), high[out].clip(0, 1)], 1))
    return PixelRows(rows, bad, ~wrong & (beyond > ROUNDING), ~wrong & out & (beyond <= ROUNDING))


def extents_to_rows(extents: np.ndarray) -> np.ndarray:
    """Return (n, 4) [x1, y1, x2, y2] as [cx, cy, w, h], as ``label_file`` calculates the box of a polygon."""
    low, high = extents[:, :2], extents[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], 1)


def _why(box: np.ndarray, shape: np.ndarray, is_flat: bool) -> str:
    if not np.isfinite(box).all():
        return "has no box of four numbers"
    cx, cy, width, height = box.tolist()
    if is_flat:
        return f"a box of width {width:g} and height {height:g} has no area"
    left, top = cx - width / 2, cy - height / 2
    return f"a box at {left:g}, {top:g} of {width:g}×{height:g} lies outside the image of {shape[1]}×{shape[0]}"
