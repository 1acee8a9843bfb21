"""Sizes of boxes against the size of the images that are trained on, the strides and the anchors."""

from collections.abc import Iterator

import numpy as np

from models.heads._autoanchor import MIN_RECALL, coverage
from utils.doctor.facts import NOTE, WARNING, Facts, Finding
from utils.text import counted

TINY_PX = 2.0  # at the training size; AutoAnchor does not look at smaller ones either
FINEST_STRIDE = 8
MANY_SMALL = 0.1  # share of the boxes
WHOLE = 0.98  # of the area of the picture
MANY_WHOLE = 0.2
LONG = 20.0  # longer by shorter side
CROWD = 300  # detections that val.py keeps of a picture
ANCHOR_T = 4.0  # of YOLOv5's hyper-parameter files


def tiny_boxes(facts: Facts) -> Iterator[Finding]:
    rows = np.flatnonzero(facts.scaled_sides.min(axis=1, initial=np.inf) < TINY_PX)
    yield from Finding.of(
        WARNING,
        f"boxes with a side under {TINY_PX:g} pixels at --imgsz {facts.imgsz}",
        "remove them if they are slips of the mouse; if they are objects, train larger, or on tiles of the pictures",
        [facts.at_row(row, f"{_size(facts.scaled_sides[row])} pixels") for row in rows],
    )


def small_boxes(facts: Facts) -> Iterator[Finding]:
    longer = facts.scaled_sides.max(axis=1, initial=0)
    rows = np.flatnonzero(longer < FINEST_STRIDE)
    if len(rows) <= MANY_SMALL * len(longer):
        return
    yield from Finding.of(
        NOTE,
        f"boxes, of {len(longer)}, that are smaller than a cell of the finest level "
        f"({FINEST_STRIDE} pixels) at --imgsz {facts.imgsz}",
        "train with a larger --imgsz, or a model with a finer level such as yolov8n-p2",
        [facts.at_row(row, f"{_size(facts.scaled_sides[row])} pixels") for row in rows],
    )


def whole_picture(facts: Facts) -> Iterator[Finding]:
    rows = np.flatnonzero(facts.boxes[:, 2:].prod(axis=1) >= WHOLE)
    many = len(rows) > MANY_WHOLE * max(len(facts.boxes), 1)
    yield from Finding.of(
        WARNING if many else NOTE,
        "boxes that cover the whole picture",
        "label the objects; a set that says only what a picture shows is one for classification"
        if many
        else "look whether the object fills the picture; if not, label the object",
        [facts.at_row(row, f"{facts.name_of(facts.classes[row])} everywhere") for row in rows],
    )


def long_boxes(facts: Facts) -> Iterator[Finding]:
    low, high = facts.sides.min(axis=1, initial=np.inf), facts.sides.max(axis=1, initial=0)
    rows = np.flatnonzero((high > LONG * np.maximum(low, 1e-9)) & (facts.scaled_sides.min(axis=1) >= TINY_PX))
    yield from Finding.of(
        WARNING,
        f"boxes more than {LONG:g} times as long as wide",
        "remove slips of the mouse; poles and wires are found badly by upright boxes",
        [facts.at_row(row, f"{_size(facts.sides[row])} pixels of the picture") for row in rows],
    )


def crowded(facts: Facts) -> Iterator[Finding]:
    counts = np.bincount(facts.owners, minlength=len(facts.pictures))
    yield from Finding.of(
        NOTE,
        f"pictures with more boxes than the {CROWD} that val.py finds",
        "raise --max-det of val.py and detect.py, or cut these pictures into tiles",
        [facts.at_picture(i, counted(int(counts[i]), "box")) for i in np.flatnonzero(counts > CROWD)],
    )


def anchors(facts: Facts) -> Iterator[Finding]:
    own = facts.scaled_sides[facts.box_splits == "train"] if len(facts.boxes) else facts.scaled_sides
    if facts.anchors is None or not len(own):
        return
    recall, _ = coverage(own, facts.anchors, ANCHOR_T)
    if recall > MIN_RECALL:
        return
    missed = 1 - recall
    title = f"the anchors miss {missed:.1%} of the boxes of train at --imgsz {facts.imgsz}"
    fix = "leave AutoAnchor on, which fits anchors to these boxes when the training starts"
    yield Finding(NOTE, title, fix, count=round(missed * len(own)))


def _size(sides: np.ndarray) -> str:
    return f"{sides[0]:.1f}×{sides[1]:.1f}"
