"""Boxes that lie outside, on top of each other, or at the border."""

from collections.abc import Iterator

import numpy as np
import torch

from utils.boxes import box_iou
from utils.doctor.facts import NOTE, WARNING, Facts, Finding

OUTSIDE_SHARE, OUTSIDE_PX = 0.02, 2.0  # of the box, and of the picture: by how much a box must reach outside
MANY_OUTSIDE = 0.2  # share of the boxes
SAME = 0.9  # IoU
BORDER = 1e-3  # of the picture
MANY_AT_BORDER, ENOUGH = 0.5, 30  # share and number of boxes


def outside(facts: Facts) -> Iterator[Finding]:
    """Boxes that reach out of the picture; training clips them, and what is left need not fit the object."""
    beyond = np.maximum(-facts.corners[:, :2], facts.corners[:, 2:] - 1).clip(min=0)  # (T, 2)
    scale = facts.sides / np.maximum(facts.boxes[:, 2:], 1e-9)
    far = (beyond > OUTSIDE_SHARE * facts.boxes[:, 2:]) & (beyond * scale >= OUTSIDE_PX)
    rows = np.flatnonzero(far.any(axis=1))
    many = len(rows) > MANY_OUTSIDE * max(len(facts.boxes), 1)
    fix = "clip the boxes to their pictures"
    if many:
        fix = "x and y of a row must be the centre of the box: add half of w and h if they are its corner"
    text = "reaches out of the picture by {:.0f}×{:.0f} pixels"
    yield from Finding.of(
        WARNING,
        "boxes that reach out of their picture",
        fix,
        [facts.at_row(row, text.format(*(beyond * scale)[row])) for row in rows],
    )


def doubled(facts: Facts) -> Iterator[Finding]:
    pairs = [(a, b) for a, b in _overlapping(facts) if facts.classes[a] == facts.classes[b]]
    yield from Finding.of(
        WARNING,
        f"boxes on another of the same class (IoU over {SAME:g})",
        "remove one of the two",
        [facts.at_row(b, f"{facts.name_of(facts.classes[b])}, as in row {facts.lines[a]}", a) for a, b in pairs],
    )


def two_classes(facts: Facts) -> Iterator[Finding]:
    pairs = [(a, b) for a, b in _overlapping(facts) if facts.classes[a] != facts.classes[b]]
    text = "{} here, {} in row {}"
    yield from Finding.of(
        WARNING,
        f"boxes on another of a different class (IoU over {SAME:g})",
        "keep the right class; a model that finds one object at a place cannot learn both",
        [facts.at_row(b, text.format(*_names(facts, b, a), facts.lines[a]), a) for a, b in pairs],
    )


def at_the_border(facts: Facts) -> Iterator[Finding]:
    """Splits in which most boxes end at the border: pictures that were cut, or boxes that were clipped."""
    touches = (facts.corners[:, :2] <= BORDER).any(axis=1) | (facts.corners[:, 2:] >= 1 - BORDER).any(axis=1)
    touches &= facts.boxes[:, 2:].max(axis=1, initial=0) < 1 - BORDER  # what spans the picture has no choice
    for split in facts.splits:
        own = np.flatnonzero(facts.box_splits == split) if len(facts.boxes) else np.zeros(0, int)
        rows = own[touches[own]]
        if len(rows) >= ENOUGH and len(rows) > MANY_AT_BORDER * len(own):
            yield from Finding.of(
                NOTE,
                f"boxes of {split}, of {len(own)}, that end at the border of their picture",
                "look whether the boxes were moved or scaled, or the pictures cut after they had been labelled",
                [facts.at_row(row, "ends at the border") for row in rows],
            )


def _names(facts: Facts, *rows: int) -> list[str]:
    return [facts.name_of(facts.classes[row]) for row in rows]


def _overlapping(facts: Facts) -> Iterator[tuple[int, int]]:
    """Yield pairs of boxes of one picture, by their indices, that overlap by more than SAME."""
    for picture in np.unique(facts.owners).tolist():
        rows = facts.rows_of(picture)
        if len(rows) > 1:
            boxes = facts.corners[rows.start : rows.stop]
            first, second = np.nonzero(np.triu(iou(boxes, boxes), 1) > SAME)
            yield from zip((first + rows.start).tolist(), (second + rows.start).tolist(), strict=True)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the IoU (n, m) of boxes ``a (n, 4)`` and ``b (m, 4)``, corners."""
    return box_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
