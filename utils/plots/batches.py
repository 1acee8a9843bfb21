"""Mosaics of a batch's images with their boxes: train_batch0.jpg, val_batch0_labels.jpg, val_batch0_pred.jpg."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from utils.boxes import cxcywh_to_xyxy
from utils.pixels import as_picture
from utils.plots.annotate import WHITE, Color, color_of, draw_boxes, text_image
from utils.plots.image_file import write_image
from utils.text import distinct_names, shorten

MAX_IMAGES = 16
MAX_SIDE, MIN_TILE = 1920, 400  # pixels of the whole mosaic, and up to which its parts are enlarged
MIN_CONFIDENCE = 0.25
CAPTION, CAPTION_SIZE, CAPTION_COLOR = 20, 13, (64, 64, 64)  # pixels of the strip and of its text
NAME_LENGTH, GAP = 40, 2
Marks = tuple[np.ndarray, list[str], list[Color]]  # boxes (n, 4) xyxy in pixels, texts, colours


def plot_batch(
    images: Tensor,
    targets: Tensor,
    path: Path,
    *,
    paths: Sequence[str],
    names: Mapping[int, str],
    group: int = 1,
) -> None:
    """Draw a batch with its ground truth: images (B, C, H, W) and targets (T, 6) as the loader gives them.

    Each ``group`` of images stands in one row.
    """
    height, width = images.shape[-2:]
    names = distinct_names(names)
    targets = targets.cpu().float()
    boxes = cxcywh_to_xyxy(targets[:, 2:6]) * targets.new_tensor([width, height, width, height])
    marks = []
    for index in range(min(len(images), MAX_IMAGES)):
        own = targets[:, 0] == index
        classes = targets[own, 1].int().tolist()
        marks.append((boxes[own].numpy(), [names[c] for c in classes], [color_of(c) for c in classes]))
    write_image(path, _mosaic(images, marks, paths, nothing="no labels", group=group))


def plot_detections(
    images: Tensor, detections: Sequence[Tensor], path: Path, *, paths: Sequence[str], names: Mapping[int, str]
) -> None:
    """Draw a batch with what was found: per image (n, 6), in the pixels of ``images``; doubtful ones are left out."""
    names, marks = distinct_names(names), []
    for found in detections[:MAX_IMAGES]:
        sure = found[found[:, 4] > MIN_CONFIDENCE].cpu().float().flip(0)  # the best on top
        texts = [f"{names[int(c)]} {confidence:.1f}" for confidence, c in sure[:, 4:6].tolist()]
        marks.append((sure[:, :4].numpy(), texts, [color_of(c) for c in sure[:, 5].tolist()]))
    write_image(path, _mosaic(images, marks, paths, nothing="no detections"))


def _mosaic(images: Tensor, marks: Sequence[Marks], paths: Sequence[str], nothing: str, group: int = 1) -> np.ndarray:
    """Return the drawn images row by row; each row fills the width, whatever the number of its images."""
    tiles = images[: len(marks)].permute(0, 2, 3, 1).cpu().numpy()
    height, width = tiles.shape[1:3]
    rows = _rows(len(tiles), group)
    most, strips = max(rows), CAPTION * len(rows)
    total = sum(height * most / count for count in rows)  # of the rows, in pixels of an image in the longest
    enlarged = max(1.0, MIN_TILE / max(height, width))
    scale = min(enlarged, MAX_SIDE / (most * width), (MAX_SIDE - strips) / total)
    side = max(most, int(most * width * scale))
    parts, index = [], 0
    for count in rows:
        edges = np.linspace(0, side, count + 1).astype(int)
        row_height = max(1, int(height * side / count / width))
        row = []
        for part_width in np.diff(edges).tolist():
            caption = _caption(paths[index], nothing if not len(marks[index][0]) else "", part_width)
            row.append(np.vstack((caption, _tile(as_picture(tiles[index]), marks[index], (part_width, row_height)))))
            index += 1
        parts.append(np.hstack(row))
    return np.vstack(parts)


def _rows(count: int, group: int) -> list[int]:
    """Return how many images stand in each row: about a square, none of whose places is empty, of whole groups."""
    groups = count // group
    rows = min(math.isqrt(count), groups)
    return [group * (groups // rows + (row < groups % rows)) for row in range(rows)]


def _caption(path: str, note: str, width: int) -> np.ndarray:
    """Return a strip with the name of a file in its folder, as many files of a data set can have one name."""
    name = shorten("/".join(Path(path).parts[-2:]), NAME_LENGTH)
    text = f"{name}: {note}" if note else name
    strip = np.full((CAPTION, width, 3), 255, dtype=np.uint8)
    image = text_image(text, CAPTION_SIZE, WHITE, CAPTION_COLOR)[:CAPTION, : width - GAP]
    strip[GAP : GAP + len(image), GAP : GAP + image.shape[1]] = image[: CAPTION - GAP]
    return strip


def _tile(image: np.ndarray, marks: Marks, size: tuple[int, int]) -> np.ndarray:
    boxes, texts, colors = marks
    scale = np.array(size * 2) / np.array(image.shape[1::-1] * 2)
    smaller = size[0] < image.shape[1]
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    cv2.rectangle(image, (0, 0), (size[0] - 1, size[1] - 1), WHITE, thickness=GAP)  # before the boxes, to cut none
    return draw_boxes(image, boxes * scale, texts, colors, line_width=2)
