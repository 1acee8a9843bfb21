"""Which pictures look alike.

They have nearly the same difference hash (whether each cell of an 8×8 grid is brighter than its neighbour); of these,
the thumbnails must agree in brightness and in detail. All pairs of hashes are compared as products of matrices.
"""

import numpy as np

from utils.doctor.pixels import THUMB

GRID = 8
MIN_AGREEMENT = 0.85  # of the bits of two hashes
MIN_CORRELATION = 0.97  # of two thumbnails
MIN_DETAIL = 0.8  # the same of what is left of them without their coarse shades
MIN_SPREAD = 6.0  # standard deviation of a colour; flatter pictures have nothing to compare


def hashes(thumbs: np.ndarray) -> np.ndarray:
    """Return (n, 2 · GRID · (GRID - 1)) float32 of ±1: is a cell brighter than its left, than its upper neighbour."""
    cell = THUMB // GRID
    grid = thumbs.reshape(-1, GRID, cell, GRID, cell).mean(axis=(2, 4))
    steps = np.diff(grid, axis=2).reshape(len(grid), -1), np.diff(grid, axis=1).reshape(len(grid), -1)
    return np.where(np.concatenate(steps, axis=1) > 0, np.float32(1), np.float32(-1))


def agree(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return (n,) bool: which pairs of thumbnails (n, THUMB, THUMB) float32 show the same."""
    detail = _correlation(one - _smooth(one), other - _smooth(other))
    return (_correlation(one, other) >= MIN_CORRELATION) & (detail >= MIN_DETAIL)


def _correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return (n,): how well two images agree, apart from brightness and contrast."""
    one, other = (images.reshape(len(images), -1) for images in (one, other))
    one, other = (images - images.mean(axis=1, keepdims=True) for images in (one, other))
    return (one * other).sum(axis=1) / np.maximum(np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1), 1e-6)


def _smooth(images: np.ndarray) -> np.ndarray:
    """Return the images with each 4×4 cell at its mean."""
    n, size, _ = images.shape
    cells = images.reshape(n, size // 4, 4, size // 4, 4).mean(axis=(2, 4), keepdims=True)
    return np.broadcast_to(cells, (n, size // 4, 4, size // 4, 4)).reshape(images.shape)
