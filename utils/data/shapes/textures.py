"""Patterns that fill the backgrounds and objects of the drawn data set. Colours are float32 RGB in 0–255."""

import cv2
import numpy as np

KINDS = ("plain", "gradient", "stripes", "checks", "clouds", "grain")
PERIOD = (6, 30)  # pixels, of stripes and checks
CELLS = (3, 9)  # of clouds, along a side


def texture(rng: np.random.Generator, shape: tuple[int, int], colour: np.ndarray, contrast: float) -> np.ndarray:
    """Return (H, W, 3) float32: a random pattern between ``colour`` and one up to ``contrast`` away per channel."""
    change = rng.uniform(-contrast, contrast, 3).astype(np.float32)
    blend = _pattern(rng, shape, str(rng.choice(KINDS))).astype(np.float32)
    return cv2.merge([blend * step + start for step, start in zip(change, colour.astype(np.float32), strict=True)])


def _pattern(rng: np.random.Generator, shape: tuple[int, int], kind: str) -> np.ndarray:
    """Return (H, W) in 0–1."""
    if kind == "plain":
        return np.zeros(shape)
    if kind == "grain":
        return rng.random(shape)
    if kind == "clouds":
        cells = rng.random(rng.integers(*CELLS, size=2))
        return np.clip(cv2.resize(cells, shape[::-1], interpolation=cv2.INTER_CUBIC), 0, 1)
    along, across = _axes(shape, rng.uniform(0, np.pi))
    if kind == "gradient":
        return (along - along.min()) / max(np.ptp(along), 1)
    period = rng.uniform(*PERIOD)
    waves = np.sin(2 * np.pi * along / period)
    if kind == "checks":
        waves = waves * np.sin(2 * np.pi * across / period)
    return np.clip(0.5 + rng.uniform(0.5, 4) * waves, 0, 1)  # from soft to sharp edges


def _axes(shape: tuple[int, int], angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Return two perpendicular coordinates of every pixel."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
