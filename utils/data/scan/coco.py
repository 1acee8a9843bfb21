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
from utils.data.scan.coco_boxes import misreading
from utils.data.scan.coco_file import CocoIndex, CocoLabels, open_coco, read_coco
from utils.data.scan.coco_images import coco_images
from utils.data.scan.label_file import NO_POLYGON, REPEATED, ROUNDED, RowProblem
from utils.data.scan.pixel_boxes import CLIPPED, extents_to_rows, pixel_rows
from utils.data.scan.scan_result import Problem
from utils.text import counted, safe_text

log = logging.getLogger(__name__)

AT_ONCE = 1 << 15  # annotations
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
    """Makes label rows of the annotations of an image; where the file tells the sizes of images, of all in advance."""

    def __init__(
        self, index: CocoIndex, labels: CocoLabels, images: Sequence[str], classes: Mapping[int | str, int]
    ) -> None:
        self.index, self.images, self.file = index, images, str(index.path)
        self.names = list(index.categories.values())
        self.ids, self.category, self.crowd = labels.ids, labels.category, labels.crowd
        table = np.array([*(classes.get(key, LEFT_OUT) for key in index.categories), UNKNOWN])
        self.order = np.argsort(labels.image, kind="stable")
        self.starts = np.searchsorted(labels.image[self.order], np.arange(len(images) + 1))
        self.extents = _extents(labels)
        missing = np.isnan(labels.boxes[:, :1])
        self.boxes = np.where(missing, self.extents - np.roll(self.extents, 2, 1) * [0, 0, 1, 1], labels.boxes)

        self.rows = np.zeros((len(labels.image), 5))
        self.rows[:, 0] = table[labels.category]  # -1, which is no category, is the last
        self.clipped, self.rounded = np.zeros((2, len(self.rows)), bool)
        self.corners, self.ends = labels.corners.copy(), np.cumsum(labels.corners)
        self.pixels, self.points = labels.points, np.zeros(labels.points.shape)
        self.bad: dict[int, str] = {}  # number of the annotation → what is wrong with its box
        shapes = index.sizes[labels.image] if len(images) else np.zeros((0, 2), np.int64)
        told = np.flatnonzero((labels.image >= 0) & shapes.all(1))
        for start in range(0, len(told), AT_ONCE):
            part = told[start : start + AT_ONCE]
            self._convert(part, shapes[part])
        if wrong := misreading(self.boxes, shapes):
            self.bad = dict.fromkeys(range(len(self.boxes)), wrong) | self.bad
        astray = self.order[: self.starts[0]].tolist()
        self.problems = [self._problem(number, "its image_id is not among the images") for number in astray]

    def __call__(self, index: int, shape: tuple[int, int]) -> Outcome:
        said = tuple(self.index.sizes[index].tolist())
        if said not in (shape, (0, 0)):
            what = f"{shape[1]}×{shape[0]} pixels, but {safe_text(self.index.path.name)} says {said[1]}×{said[0]}"
            return Outcome(problems=[Problem(self.images[index], 0, f"{what}: its boxes would be wrong")])
        own = self.order[self.starts[index] : self.starts[index + 1]]
        if said != shape:
            self._convert(own, np.tile(shape, (len(own), 1)))
        outcome, classes = Outcome(shape, has_file=True), self.rows[own, 0]
        if len(own) and classes.min() < 0:
            outcome.left_out = [self.names[number] for number in self.category[own[classes == LEFT_OUT]]]
            for number in own[classes == UNKNOWN].tolist():
                self._drop(outcome, number, "its category_id is not among the categories")
        wanted = [number for number, class_id in zip(own.tolist(), classes.tolist(), strict=True) if class_id >= 0]
        for number in filter(self.bad.__contains__, wanted):
            self._drop(outcome, number, self.bad[number])
        self._fill(outcome, [number for number in wanted if number not in self.bad])
        return outcome

    def _fill(self, outcome: Outcome, own: list[int]) -> None:
        """Put annotations into the rows of their image, each once."""
        rows, table = outcome.rows, self.rows[own]
        for place in np.flatnonzero(self.clipped[own] | self.rounded[own]).tolist():
            outcome.repairs.append(self._problem(own[place], CLIPPED if self.clipped[own[place]] else ROUNDED))
        rows.clipped, rows.rounded = int(self.clipped[own].sum()), int(self.rounded[own].sum())
        seen, kept, crowd = set(), [], self.crowd[own].tolist()
        for place, row in enumerate(map(tuple, table.tolist())):
            if (row, crowd[place]) in seen:
                rows.duplicates += 1
                outcome.repairs.append(self._problem(own[place], REPEATED))
            else:
                seen.add((row, crowd[place]))
                kept.append(place)
        rows.ignored = table[[place for place in kept if crowd[place]]]
        kept = [place for place in kept if not crowd[place]]
        rows.boxes = table[kept]
        rows.polygons = [self._polygon(own[place]) for place in kept]

    def _polygon(self, number: int) -> np.ndarray:
        count, end = self.corners[number], self.ends[number]
        return self.points[end - count : end] if count else NO_POLYGON

    def _convert(self, own: np.ndarray, shapes: np.ndarray) -> None:
        """Write the rows and polygons of annotations (n,), in images (n, 2) [height, width], into the tables."""
        sides = np.tile(shapes[:, ::-1], 2).astype(np.float64)  # (n, 4)
        x, y, width, height = self.boxes[own].T
        found = pixel_rows(np.stack([x + width / 2, y + height / 2, width, height], 1), shapes)
        self.bad |= {int(own[number]): why for number, why in found.bad.items()}
        self.clipped[own], self.rounded[own] = found.clipped, found.rounded

        extents = (self.extents[own] / sides).clip(0, 1)  # nan without a polygon
        centre, half = found.rows[:, :2], found.rows[:, 2:] / 2
        off = np.abs(extents - np.concatenate([centre - half, centre + half], 1)) * sides
        outlined = (off <= MAX_OFF).all(1) & (extents[:, :2] < extents[:, 2:]).all(1)
        found.rows[outlined] = extents_to_rows(extents[outlined])
        self.rows[own, 1:] = found.rows

        counts, ends = self.corners[own], self.ends[own]
        points = np.repeat(ends - np.cumsum(counts), counts) + np.arange(counts.sum())
        self.points[points] = (self.pixels[points] / np.repeat(sides[:, :2], counts, 0)).clip(0, 1)
        self.corners[own[~outlined]] = 0

    def _problem(self, number: int, why: str) -> Problem:
        own = self.ids[number]
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
