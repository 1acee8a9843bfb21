"""What is known about a data set (``Facts``), and what a check says about it (``Finding``)."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from utils.data.scan.scan_result import Problem
from utils.data.scan.spec import DataSpec
from utils.doctor.pixels import Pixels
from utils.errors import DataError

ERROR, WARNING, NOTE = SEVERITIES = ("error", "warning", "note")
KEPT_EXAMPLES = 200  # of a finding; its count goes on


@dataclass(frozen=True)
class Picture:
    """An image of a split; ``shape`` (height, width), upright, is None where it cannot be used."""

    path: str
    label_file: str
    split: str
    shape: tuple[int, int] | None
    has_labels: bool  # the label file is there
    pixels: Pixels | None  # None where it cannot be decoded


@dataclass(frozen=True)
class Example:
    """A place where something is wrong; ``rows`` are the boxes that it is about."""

    path: str
    line: int  # counted from 1; 0 means the whole file
    text: str
    picture: int | None = None  # index in ``Facts.pictures``
    rows: tuple[int, ...] = ()
    found: tuple[float, ...] = ()  # a box [x1, y1, x2, y2], 0–1, that is not in the labels
    twin: int | None = None  # index of the picture that it is compared with


@dataclass(frozen=True)
class Finding:
    """What a check has found: ``title`` says what, ``count`` how often, ``fix`` what to do about it.

    Title and fix are text of ours with names in it, which is made harmless where it is shown.
    """

    severity: str
    title: str
    fix: str
    examples: Sequence[Example] = ()
    count: int = 0
    check: str = ""  # its name; the runner fills it in

    @classmethod
    def of(cls, severity: str, title: str, fix: str, examples: Sequence[Example]) -> list["Finding"]:
        """Return the finding that has these examples; none where there are none."""
        return [cls(severity, title, fix, examples[:KEPT_EXAMPLES], len(examples))] if examples else []


@dataclass(frozen=True)
class Facts:
    """The pictures of all splits, unusable ones among them, with their T boxes; nothing here has been judged.

    ``anchors`` (K, 2) are in pixels; None for a model without. ``detections`` are those
    of ``--model`` for every picture, (n, 6) [x1, y1, x2, y2, confidence, class], corners in 0–1; None without.
    """

    spec: DataSpec
    imgsz: int
    pictures: list[Picture]
    boxes: np.ndarray  # (T, 4) float64 [cx, cy, w, h], 0–1
    classes: np.ndarray  # (T,) int
    owners: np.ndarray  # (T,) index of the picture, ascending
    lines: np.ndarray  # (T,) of the label file, counted from 1
    problems: list[Problem] = field(default_factory=list)  # unusable images
    left_out: Mapping[str, int] = field(default_factory=dict)  # class that ``names`` has not → its objects
    bad_rows: list[Problem] = field(default_factory=list)  # rows and objects that are left out, their images are not
    bad_classes: list[Problem] = field(default_factory=list)
    class_fix: str = ""  # what to do about these
    repairs: list[Problem] = field(default_factory=list)  # rows that training clips or leaves out
    orphans: list[str] = field(default_factory=list)  # label files without an image
    refusals: Mapping[str, DataError] = field(default_factory=dict)  # split → why training would stop there
    anchors: np.ndarray | None = None
    detections: Sequence[np.ndarray] | None = None

    @cached_property
    def splits(self) -> list[str]:
        return list(dict.fromkeys(picture.split for picture in self.pictures))

    @cached_property
    def usable(self) -> list[int]:
        """Indices of the pictures that have been decoded."""
        return [index for index, picture in enumerate(self.pictures) if picture.pixels and picture.shape]

    @cached_property
    def box_splits(self) -> np.ndarray:
        """(T,) split of each box."""
        return np.array([picture.split for picture in self.pictures] or [""])[self.owners]

    @cached_property
    def corners(self) -> np.ndarray:
        """(T, 4) [x1, y1, x2, y2], not clipped to the picture."""
        centre, half = self.boxes[:, :2], self.boxes[:, 2:] / 2
        return np.concatenate((centre - half, centre + half), axis=1)

    @cached_property
    def sides(self) -> np.ndarray:
        """(T, 2) width and height of each box in pixels of its picture."""
        shapes = np.array([picture.shape or (1, 1) for picture in self.pictures] or [(1, 1)])
        return self.boxes[:, 2:] * shapes[self.owners][:, ::-1]

    @cached_property
    def scaled_sides(self) -> np.ndarray:
        """(T, 2) width and height of each box in pixels of a picture whose longer side is ``imgsz``."""
        longer = np.array([max(picture.shape or (1,)) for picture in self.pictures] or [1])
        return self.sides * (self.imgsz / longer[self.owners])[:, None]

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.searchsorted(self.owners, np.arange(len(self.pictures) + 1))

    def rows_of(self, picture: int) -> range:
        """Return the indices of the boxes of a picture."""
        return range(self._starts[picture], self._starts[picture + 1])

    def name_of(self, class_id: int) -> str:
        return self.spec.names.get(int(class_id), str(int(class_id)))

    def at_row(self, row: int, text: str, *others: int) -> Example:
        """Return the example of a box, ``others`` being boxes of the same picture that it has to do with."""
        picture = int(self.owners[row])
        line = int(self.lines[row])
        return Example(self.pictures[picture].label_file, line, text, picture, (int(row), *map(int, others)))

    def at_picture(self, picture: int, text: str, twin: int | None = None) -> Example:
        return Example(self.pictures[picture].path, 0, text, picture, twin=twin)

    def at_labels(self, picture: int, text: str, twin: int | None = None) -> Example:
        """Return the example of all labels of a picture."""
        return Example(self.pictures[picture].label_file, 0, text, picture, tuple(self.rows_of(picture)), twin=twin)

    def at_problem(self, problem: Problem) -> Example:
        index = self._by_file.get(problem.path)
        usable = index is not None and self.pictures[index].pixels is not None
        return Example(problem.path, problem.line, problem.message, index if usable else None)

    def shown(self, path: str) -> str:
        """Return a path as short as it can be told: relative to the folder of the data set, where it lies in there."""
        return path.removeprefix(f"{self.spec.root}{os.sep}")

    def place(self, example: Example) -> str:
        """Return ``file`` or ``file:line``."""
        return f"{self.shown(example.path)}:{example.line}" if example.line else self.shown(example.path)

    @cached_property
    def _by_file(self) -> dict[str, int]:
        files = {picture.label_file: index for index, picture in enumerate(self.pictures)}
        return files | {picture.path: index for index, picture in enumerate(self.pictures)}
