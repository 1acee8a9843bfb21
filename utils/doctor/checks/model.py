"""Where a trained model and the labels disagree: either may be wrong, and the likeliest slips come first."""

from collections.abc import Iterator

import numpy as np

from utils.doctor.checks.boxes import iou
from utils.doctor.facts import NOTE, WARNING, Example, Facts, Finding

SURE = 0.6  # confidence of a detection that is believed
SAME_PLACE = 0.6  # IoU of a detection and the label that it is about
ELSEWHERE = 0.2  # IoU under which a detection has nothing to do with a label
TOO_MANY = 0.5  # share of the labels that a model of any use cannot miss
LOOK = "look at each, the likeliest first, and correct the labels where the model is right"


def missing_labels(facts: Facts) -> Iterator[Finding]:
    """Confident detections where nothing is labelled."""
    found = []
    for picture, detections, overlaps in _compared(facts):
        free = (overlaps.max(axis=1, initial=0) < ELSEWHERE) & (detections[:, 4] >= SURE)
        found += [(float(detection[4]), picture, detection) for detection in detections[free]]
    found.sort(key=lambda item: -item[0])
    yield from Finding.of(
        WARNING,
        f"objects that the model finds (confidence {SURE:g} or more) and that have no label",
        LOOK,
        [
            Example(
                facts.pictures[picture].label_file,
                0,
                f"{facts.name_of(detection[5])} {confidence:.2f} at {_place(facts, picture, detection)}",
                picture,
                found=tuple(detection[:4].tolist()),
            )
            for confidence, picture, detection in found
        ],
    )


def other_class(facts: Facts) -> Iterator[Finding]:
    """Labels at whose place the model surely finds another class, and does not find theirs."""
    found = []
    for picture, detections, overlaps in _compared(facts):
        rows = facts.rows_of(picture)
        near = overlaps >= SAME_PLACE
        agrees = detections[:, 5:6] == facts.classes[rows.start : rows.stop][None]
        confidence = np.where(near & ~agrees, detections[:, 4:5], 0)
        wrong = (confidence.max(axis=0, initial=0) >= SURE) & ~(near & agrees).any(axis=0)
        for label in np.flatnonzero(wrong):
            best = confidence[:, label].argmax()
            found.append((float(confidence[best, label]), rows.start + int(label), int(detections[best, 5])))
    found.sort(key=lambda item: -item[0])
    text = "labelled {}, the model says {} ({:.2f})"
    yield from Finding.of(
        WARNING,
        "boxes that are of another class for the model",
        LOOK,
        [
            facts.at_row(row, text.format(facts.name_of(facts.classes[row]), facts.name_of(other), sure))
            for sure, row, other in found
        ],
    )


def doubtful_labels(facts: Facts) -> Iterator[Finding]:
    """Labels at whose place the model finds nothing, however unsure it may be."""
    found = []
    for picture, _, overlaps in _compared(facts):
        rows = facts.rows_of(picture)
        found += [rows.start + int(k) for k in np.flatnonzero(overlaps.max(axis=0, initial=0) < ELSEWHERE)]
    if len(found) > TOO_MANY * len(facts.boxes):
        title = f"the model finds nothing near most of the {len(facts.boxes)} boxes, and can judge no labels"
        yield Finding(NOTE, title, "train it longer, or look whether it was trained on such pictures", count=len(found))
        return
    found.sort(key=lambda row: -facts.sides[row].prod())  # a large object is hard to overlook
    yield from Finding.of(
        WARNING,
        "boxes where the model finds nothing at all",
        LOOK,
        [facts.at_row(row, f"{facts.name_of(facts.classes[row])}, and no detection near it") for row in found],
    )


def _compared(facts: Facts) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield picture, detections (n, 6) and their IoU (n, m) with its labels."""
    for picture, detections in enumerate(facts.detections or ()):
        rows = facts.rows_of(picture)
        yield picture, detections, iou(detections[:, :4], facts.corners[rows.start : rows.stop].clip(0, 1))


def _place(facts: Facts, picture: int, detection: np.ndarray) -> str:
    height, width = facts.pictures[picture].shape
    x, y = (detection[:2] + detection[2:4]) / 2 * (width, height)
    return f"x {x:.0f}, y {y:.0f}"
