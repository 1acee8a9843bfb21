"""Copy-paste: mirrored copies of outlined objects, put where they hide little of the others.

Paper: Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation,
https://arxiv.org/abs/2012.07177
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from utils.data.mosaic.ragged import Ragged
from utils.data.mosaic.tiles import Layout, Objects

MAX_HIDDEN = 0.30  # share of another object that a copy may hide


@dataclass(frozen=True)
class Copies:
    """K outlines (canvas pixels) on ``tile`` (K,) whose mirror images are painted over the canvas, in this order."""

    tile: np.ndarray
    outlines: Ragged

    @classmethod
    def none(cls) -> "Copies":
        return cls(np.zeros(0, int), Ragged.join([], 2))


def copy_paste(
    layout: Layout, objects: Objects, share: float, rngs: Sequence[np.random.Generator]
) -> tuple[Objects, Copies]:
    """Return the objects with copies of a ``share`` of the outlined ones of every mosaic, and the copies.

    ``objects`` have polygons and are ordered by picture, as the result is; each picture has its generator.
    """
    picture = layout.picture[objects.tile]
    bounds = np.searchsorted(picture, np.arange(len(layout.canvas) + 1))
    rows, boxes, copied = [], [], []
    for index, rng in enumerate(rngs):
        own = np.arange(bounds[index], bounds[index + 1])
        if layout.is_mosaic[index]:
            chosen, mirrored = _choose(objects, own, share, layout.canvas[index, 0], rng)
        else:
            chosen, mirrored = own[:0], objects.boxes[:0]
        rows += [own, chosen]
        boxes += [objects.boxes[own], mirrored]
        copied += [np.zeros(len(own), bool), np.ones(len(chosen), bool)]
    rows, copied = np.concatenate(rows), np.concatenate(copied)
    taken = objects.polygons.take(rows)
    widths = layout.canvas[layout.picture[objects.tile[rows]], 0]
    point_is_copied, width = copied[taken.owner, None], widths[taken.owner]
    mirrored = np.stack([width - taken.values[:, 0], taken.values[:, 1]], 1)
    polygons = Ragged(np.where(point_is_copied, mirrored, taken.values), taken.starts)
    result = Objects(objects.classes[rows], np.concatenate(boxes), polygons, objects.tile[rows])
    return result, Copies(objects.tile[rows[copied]], objects.polygons.take(rows[copied]))


def _choose(
    objects: Objects, own: np.ndarray, share: float, width: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the objects ``own`` of one canvas are copied, and the boxes of their mirror images.

    ``width`` is that of the canvas.
    """
    outlined = own[objects.polygons.lengths[own] > 0]
    boxes, chosen = objects.boxes[own], []
    for row in rng.permutation(outlined)[: round(share * len(outlined))].tolist():  # each copy may prevent the next
        left, top, right, bottom = objects.boxes[row]
        mirrored = np.array([[width - right, top, width - left, bottom]])
        if (hidden_share(boxes, mirrored) < MAX_HIDDEN).all():
            boxes = np.concatenate([boxes, mirrored])
            chosen.append(row)
    return np.array(chosen, int), boxes[len(own) :]


def hidden_share(boxes: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the share (N,) of each xyxy box (N, 4) that lies under ``other`` (1, 4)."""
    width, height = (np.minimum(boxes[:, 2:], other[:, 2:]) - np.maximum(boxes[:, :2], other[:, :2])).clip(0).T
    return width * height / ((boxes[:, 2:] - boxes[:, :2]).prod(1) + 1e-7)


def outline_mask(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return (H, W) uint8, 255 inside the outline ``points`` (K, 2) in pixels."""
    sixteenths = np.round((points - 0.5) * 16).astype(np.int32)
    return cv2.fillPoly(np.zeros(shape, np.uint8), [sixteenths], 255, shift=4)
