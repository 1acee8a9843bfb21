"""Look for small objects: at the whole image, and at overlapping tiles of it, each as large as an image to the model.

In tiles, objects that a tile's edge cuts are found in part. What is smaller than the overlap is whole in another tile,
so a part is dropped where a box that is not cut holds it; suppression among all boxes, in pixels of the image, follows.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from utils.detection.found import Detections
from utils.nms import survivors
from utils.stopwatch import Speed

EDGE = 0.01  # of a tile: from a box that is cut to the edge
HELD = 0.7  # of the area of a part that lies in the box that it is part of


class Predict(Protocol):
    """Finds objects in images."""

    def batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Return what is in each image (H, W, C)."""


class TiledPredictor:
    """Calls a predictor on the image and on its tiles; an image no larger than a tile is looked at once."""

    def __init__(
        self,
        predict: Predict,
        tile: int,
        overlap: float,
        merge: Callable[[Tensor, Tensor], Tensor],
        batch: int,
    ) -> None:
        """Take tiles of ``tile`` × ``tile`` pixels that share ``overlap`` of a side or more, ``batch`` at a time."""
        self.predict, self.tile, self.overlap, self.merge, self.size = predict, tile, overlap, merge, batch
        self.total, self.images = Speed(0, 0, 0), 0

    def batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Return what is in each of several images (H, W, C)."""
        return [self._detect(image) for image in images]

    def _detect(self, image: np.ndarray) -> Detections:
        height, width = image.shape[:2]
        corners = list(product(starts(height, self.tile, self.overlap), starts(width, self.tile, self.overlap)))
        corners = corners if len(corners) > 1 else []
        (whole,) = self.predict.batch([image])
        boxes, are_cut, speeds = [whole.boxes], [torch.zeros(len(whole.boxes), dtype=torch.bool)], [whole.speed]
        for first in range(0, len(corners), self.size):
            part = corners[first : first + self.size]
            tiles = [image[top : top + self.tile, left : left + self.tile] for top, left in part]
            for (top, left), found in zip(part, self.predict.batch(tiles), strict=True):
                shifted = found.boxes + found.boxes.new_tensor([left, top, left, top, 0, 0])
                boxes.append(shifted)
                are_cut.append(_are_cut(shifted, left, top, min(self.tile, width), min(self.tile, height), image.shape))
                speeds.append(found.speed)
        speed = sum(speeds, start=Speed(0, 0, 0))
        self.total, self.images = self.total + speed, self.images + 1
        return replace(whole, boxes=self.merge(torch.cat(boxes), torch.cat(are_cut)), speed=speed)

    def speed(self) -> Speed:
        """Return the mean over all images so far, with all of their tiles."""
        return self.total / max(self.images, 1)


def starts(length: int, tile: int, overlap: float) -> list[int]:
    """Return where tiles begin that cover ``length`` pixels and share ``overlap`` of their side, or a little more."""
    if length <= tile:
        return [0]
    steps = math.ceil((length - tile) / max(tile * (1 - overlap), 1))
    return [round(step * (length - tile) / steps) for step in range(steps + 1)]


def _are_cut(boxes: Tensor, left: int, top: int, width: int, height: int, shape: Sequence[int]) -> Tensor:
    """Return which ``boxes (n, 6)`` of a tile reach an edge of it that is none of the image of ``shape``."""
    x1, y1, x2, y2 = boxes[:, :4].T
    cut = torch.zeros(len(boxes), dtype=torch.bool)
    for near, inner in (
        (x1 < left + EDGE * width, left > 0),
        (y1 < top + EDGE * height, top > 0),
        (x2 > left + (1 - EDGE) * width, left + width < shape[1]),
        (y2 > top + (1 - EDGE) * height, top + height < shape[0]),
    ):
        if inner:
            cut |= near
    return cut


def merge_boxes(boxes: Tensor, are_cut: Tensor, iou_thres: float, agnostic: bool, max_det: int) -> Tensor:
    """Return ``boxes (n, 6)`` of all passes, best first, without parts of others and without what NMS drops."""
    whole, parts = boxes[~are_cut], boxes[are_cut]
    kept = torch.cat((whole, parts[~_are_held(parts, whole, agnostic)]))
    ranked = kept[kept[:, 4].argsort(descending=True, stable=True)]
    return ranked[survivors(ranked, iou_thres, agnostic)][:max_det]


def _are_held(parts: Tensor, whole: Tensor, agnostic: bool) -> Tensor:
    """Return which ``parts (n, 6)`` lie mostly in one of the boxes ``whole (m, 6)``, of their class."""
    low = torch.maximum(parts[:, None, :2], whole[:, :2])  # (n, m, 2)
    high = torch.minimum(parts[:, None, 2:4], whole[:, 2:4])
    area = (parts[:, 2:4] - parts[:, :2]).prod(dim=1)
    held = (high - low).clamp(min=0).prod(dim=2) > HELD * area[:, None]
    return (held if agnostic else held & (parts[:, None, 5] == whole[:, 5])).any(dim=1)
