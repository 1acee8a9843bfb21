"""Mosaics of a batch's images with their boxes: train_batch0.jpg, val_batch0_labels.jpg, val_batch0_pred.jpg."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from utils.boxes import cxcywh_to_xyxy
from utils.plots.annotate import Color, color_of, draw_boxes, draw_label_
from utils.plots.image_file import write_image
from utils.text import distinct_names, shorten

MAX_IMAGES = 16
MAX_SIDE, MIN_TILE = 1920, 400  # pixels of the whole mosaic, and up to which its parts are enlarged
MIN_CONFIDENCE = 0.25
NAME_LENGTH, NAME_COLOR = 40, (64, 64, 64)
Marks = tuple[np.ndarray, list[str], list[Color]]  # boxes (n, 4) xyxy in pixels, texts, colours


def plot_batch(images: Tensor, targets: Tensor, path: Path, *, paths: Sequence[str], names: Mapping[int, str]) -> None:
    """Draw a batch with its ground truth: images (B, 3, H, W) uint8, targets (T, 6) as the loader gives them."""
    height, width = images.shape[-2:]
    names = distinct_names(names)
    targets = targets.cpu().float()
    boxes = cxcywh_to_xyxy(targets[:, 2:6]) * targets.new_tensor([width, height, width, height])
    marks = []
    for index in range(min(len(images), MAX_IMAGES)):
        own = targets[:, 0] == index
        classes = targets[own, 1].int().tolist()
        marks.append((boxes[own].numpy(), [names[c] for c in classes], [color_of(c) for c in classes]))
    write_image(path, _mosaic(images, marks, paths))


def plot_detections(
    images: Tensor, detections: Sequence[Tensor], path: Path, *, paths: Sequence[str], names: Mapping[int, str]
) -> None:
    """Draw a batch with what was found: per image (n, 6), in the pixels of ``images``; doubtful ones are left out."""
    names, marks = distinct_names(names), []
    for found in detections[:MAX_IMAGES]:
        sure = found[found[:, 4] > MIN_CONFIDENCE].cpu().float().flip(0)  # the best on top
        texts = [f"{names[int(c)]} {confidence:.1f}" for confidence, c in sure[:, 4:6].tolist()]
        marks.append((sure[:, :4].numpy(), texts, [color_of(c) for c in sure[:, 5].tolist()]))
    write_image(path, _mosaic(images, marks, paths))


def _mosaic(images: Tensor, marks: Sequence[Marks], paths: Sequence[str]) -> np.ndarray:
    """Return the drawn images in a square grid, column by column."""
    tiles = images[: len(marks)].permute(0, 2, 3, 1).cpu().numpy()
    cells = math.ceil(math.sqrt(len(tiles)))
    side = max(tiles.shape[1:3])
    scale = min(max(1.0, MIN_TILE / side), MAX_SIDE / cells / side)
    height, width = (max(1, int(side * scale)) for side in tiles.shape[1:3])
    canvas = np.full((cells * height, cells * width, 3), 255, dtype=np.uint8)
    for index, (tile, mark, name) in enumerate(zip(tiles, marks, paths, strict=False)):
        left, top = index // cells * width, index % cells * height
        canvas[top : top + height, left : left + width] = _tile(tile, mark, scale, (width, height), _title(name))
    return canvas


def _title(path: str) -> str:
    """Return the name of a file with its folder, as many files of a data set can have one name."""
    return "/".join(Path(path).parts[-2:])


def _tile(image: np.ndarray, marks: Marks, scale: float, size: tuple[int, int], name: str) -> np.ndarray:
    boxes, texts, colors = marks
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    tile = draw_boxes(image, boxes * scale, texts, colors, line_width=2)
    draw_label_(tile, 5, 5, shorten(name, NAME_LENGTH), NAME_COLOR, line_width=2)
    cv2.rectangle(tile, (0, 0), (size[0] - 1, size[1] - 1), (255, 255, 255), thickness=2)
    return tile
