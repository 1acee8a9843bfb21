"""COCO's annotation files as annotations: the boxes and outlines of the categories that the data set has classes for.

A polygon is kept where its extent is the box, which is then the extent, as of a polygon in YOLO's label files; where
both differ by more than MAX_OFF pixels the box counts. ``iscrowd`` marks a region in which nothing counts as false.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from utils.data.scan.annotations import Outcome
from utils.data.scan.class_matching import ClassMatcher, mapping_text
from utils.data.scan.coco_file import CocoIndex, CocoLabels, open_coco, read_coco
from utils.data.scan.coco_images import coco_images
from utils.data.scan.label_file import NO_POLYGON, RowProblem
from utils.data.scan.pixel_boxes import extents_to_rows, pixel_rows
from utils.data.scan.scan_result import Problem
from utils.text import counted, safe_text

log = logging.getLogger(__name__)

MAX_OFF = 2.0  # pixels between a side of the box and of the polygon
LEFT_OUT, UNKNOWN = -1, -2  # in the place of a class: not wanted here, not in the file


class CocoAnnotations:
    """The images and annotations of one COCO file."""

    def __init__(self, path: Path, names: Mapping[int, str], root: Path | None, fence: Sequence[Path] | None) -> None:
        self.index, self._labels = open_coco(path)
        self.images = coco_images(self.index, root, fence)
        self.files, self.facts = [str(path)], json.dumps(names)
        matcher = ClassMatcher(names)
        found = {key: matcher.find(name) for key, name in self.index.categories.items()}
        self.classes = {key: index for key, index in found.items() if index is not None}

    def __str__(self) -> str:
        what = f"{counted(len(self.images), 'image')} from {safe_text(self.index.path.name)} (COCO"
        return f"{what}; category ids → classes: {mapping_text(self.classes) or 'none'})"

    def reader(self) -> "CocoReader":
        labels, self._labels = self._labels or read_coco(self.index.path)[1], None
        return CocoReader(self.index, labels, self.images, self.classes)


class CocoReader:
    """Makes label rows of the annotations of an image."""

    def __init__(
        self, index: CocoIndex, labels: CocoLabels, images: Sequence[str], classes: Mapping[int | str, int]
    ) -> None:
        self.index, self.labels, self.images, self.file = index, labels, images, str(index.path)
        self.names = list(index.categories.values())
        table = np.array([*(classes.get(key, LEFT_OUT) for key in index.categories), UNKNOWN])
        self.classes = table[labels.category]  # -1, which is no category, is the last
        self.order = np.argsort(labels.image, kind="stable")
        self.starts = np.searchsorted(labels.image[self.order], np.arange(len(images) + 1))
        self.ends = np.cumsum(labels.corners)
        self.extents = _extents(labels)
        missing = np.isnan(labels.boxes[:, :1])
        self.boxes = np.where(missing, self.extents - np.roll(self.extents, 2, 1) * [0, 0, 1, 1], labels.boxes)
        astray = self.order[: self.starts[0]].tolist()
        self.problems = [self._problem(number, "its image_id is not among the images") for number in astray]

    def __call__(self, index: int, shape: tuple[int, int]) -> Outcome:
        said = tuple(self.index.sizes[index].tolist())
        if said not in (shape, (0, 0)):
            what = f"{shape[1]}×{shape[0]} pixels, but {safe_text(self.index.path.name)} says {said[1]}×{said[0]}"
            return Outcome(problems=[Problem(self.images[index], 0, f"{what}: its boxes would be wrong")])
        own = self.order[self.starts[index] : self.starts[index + 1]]
        classes = self.classes[own]
        outcome = Outcome(shape, has_file=True)
        outcome.left_out = [self.names[number] for number in self.labels.category[own[classes == LEFT_OUT]]]
        for number in own[classes == UNKNOWN].tolist():
            self._drop(outcome, number, "its category_id is not among the categories")
        crowd, wanted = self.labels.crowd[own], classes >= 0
        outcome.rows.ignored, _ = self._rows(own[crowd & wanted], shape, outcome)
        outcome.rows.boxes, outcome.rows.polygons = self._rows(own[~crowd & wanted], shape, outcome)
        return outcome

    def _rows(self, own: np.ndarray, shape: tuple[int, int], outcome: Outcome) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the rows (n, 5) of annotations and their polygons; what is wrong goes into the outcome."""
        size = np.array([shape[1], shape[0]], np.float64)
        x, y, width, height = self.boxes[own].T
        found = pixel_rows(np.stack([x + width / 2, y + height / 2, width, height], 1), shape)
        for number, why in found.bad.items():
            self._drop(outcome, own[number], why)
        outcome.rows.clipped += found.clipped
        outcome.rows.rounded += found.rounded

        extents = (self.extents[own] / np.tile(size, 2)).clip(0, 1)  # nan without a polygon
        centre, half = found.rows[:, :2], found.rows[:, 2:] / 2
        off = np.abs(extents - np.concatenate([centre - half, centre + half], 1)) * np.tile(size, 2)
        outlined = (off <= MAX_OFF).all(1) & (extents[:, :2] < extents[:, 2:]).all(1)
        found.rows[outlined] = extents_to_rows(extents[outlined])

        rows = np.concatenate([self.classes[own, None], found.rows], 1)
        first = dict(reversed([(tuple(row), n) for n, row in enumerate(rows.tolist()) if n not in found.bad]))
        kept = sorted(first.values())
        outcome.rows.duplicates += len(own) - len(found.bad) - len(kept)
        return rows[kept], [self._polygon(own[n], size) if outlined[n] else NO_POLYGON for n in kept]

    def _polygon(self, number: int, size: np.ndarray) -> np.ndarray:
        end = self.ends[number]
        points = self.labels.points[end - self.labels.corners[number] : end]
        return (points / size).clip(0, 1).astype(np.float32)

    def _problem(self, number: int, why: str) -> Problem:
        own = self.labels.ids[number]
        return Problem(self.file, 0, f"annotation {f'id {own}' if own >= 0 else f'number {number + 1}'}: {why}")

    def _drop(self, outcome: Outcome, number: int, why: str) -> None:
        outcome.problems.append(self._problem(number, why))
        outcome.rows.bad_rows.append(RowProblem(0, why))


def _extents(labels: CocoLabels) -> np.ndarray:
    """Return [x1, y1, x2, y2] (A, 4) of each polygon, nan where there is none."""
    extents = np.full((len(labels.corners), 4), np.nan)
    outlined = labels.corners > 0
    if outlined.any():
        starts = (np.cumsum(labels.corners) - labels.corners)[outlined]
        extents[outlined, :2] = np.minimum.reduceat(labels.points, starts)
        extents[outlined, 2:] = np.maximum.reduceat(labels.points, starts)
    return extents
