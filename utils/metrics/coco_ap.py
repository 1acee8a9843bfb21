"""COCO's own figures of a data set, those of its tool pycocotools to the last digits that matter; numpy.

Definitions: https://cocodataset.org/#detection-eval. Ours are the same rules on arrays: only detections that overlap a
label of their class are looked at one by one, all IoU levels and sizes at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

WHY_TWO = """\
COCO's AP differs from the mAP above, because
* beyond the recall that is reached it counts 0, YOLOv5 draws a line to recall 1;
* it is the mean of 101 precisions, YOLOv5 takes the area under them, of which
  a perfect detector has 0.995;
* a detection whose label is taken may get another;
* of each image and class it counts the best 100 detections."""
LEVELS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
ALL, SMALL, MEDIUM, LARGE = range(4)
AREAS = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]])  # of a size, in pixels of the file; both count
MOST = 100  # detections of a class in an image
EPS = np.spacing(1)
# figure → (is it of precision, IoU levels, area, detections of a class in an image), in the order of the tool's summary
EVERY = slice(None)
FIGURES: Mapping[str, tuple[bool, slice, int, int]] = {
    "AP": (True, EVERY, ALL, MOST),
    "AP50": (True, slice(0, 1), ALL, MOST),
    "AP75": (True, slice(5, 6), ALL, MOST),
    "APs": (True, EVERY, SMALL, MOST),
    "APm": (True, EVERY, MEDIUM, MOST),
    "APl": (True, EVERY, LARGE, MOST),
    "AR1": (False, EVERY, ALL, 1),
    "AR10": (False, EVERY, ALL, 10),
    "AR100": (False, EVERY, ALL, MOST),
    "ARs": (False, EVERY, SMALL, MOST),
    "ARm": (False, EVERY, MEDIUM, MOST),
    "ARl": (False, EVERY, LARGE, MOST),
}
CURVES = sorted({(area, most) for _, _, area, most in FIGURES.values()})


class CocoImage(NamedTuple):
    """An image's n detections, best first, and m labels; boxes are [x, y, width, height] in pixels of the file."""

    found: np.ndarray  # (n, 4)
    confidence: np.ndarray  # (n,)
    predicted: np.ndarray  # (n,) classes
    boxes: np.ndarray  # (m, 4)
    labelled: np.ndarray  # (m,) classes
    areas: np.ndarray  # (m,) of the objects, which need not be those of their boxes
    crowds: np.ndarray  # (m,) bool


@dataclass(frozen=True)
class CocoScores:
    """The twelve figures of COCO, in 0–1, nan where nothing is labelled: of all classes, and of each by its id."""

    all: Mapping[str, float]
    classes: Mapping[int, Mapping[str, float]]


def coco_scores(images: Sequence[CocoImage], nc: int) -> CocoScores:
    """Return the figures of a data set of ``nc`` classes; of equal confidences that of the earlier image goes first."""
    by_class: list[list[_Judged]] = [[] for _ in range(nc)]
    for image in images:
        for class_id, judged in _judge(image):
            by_class[class_id].append(judged)
    arrays = [_class_arrays(judged) for judged in by_class]
    classes = {class_id: _figures([array]) for class_id, array in enumerate(arrays)}
    return CocoScores(_figures(arrays), classes)


class _Judged(NamedTuple):
    """A class in an image, its best detections and its labels, at 10 levels and 4 areas."""

    confidence: np.ndarray  # (n,)
    matched: np.ndarray  # (10, 4, n) bool
    ignored: np.ndarray  # (10, 4, n) bool
    labels: np.ndarray  # (4,) how many count


def _judge(image: CocoImage) -> Iterator[tuple[int, _Judged]]:
    """Yield each class that is in an image, with the verdict on it."""
    areas = image.found[:, 2] * image.found[:, 3]
    for class_id in np.union1d(image.predicted, image.labelled).astype(int):
        own = np.flatnonzero(image.predicted == class_id)
        own = own[np.argsort(-image.confidence[own], kind="stable")][:MOST]
        labels = np.flatnonzero(image.labelled == class_id)
        crowds, sizes = image.crowds[labels], image.areas[labels]
        no_label = crowds | (sizes < AREAS[:, :1]) | (sizes > AREAS[:, 1:])  # (4, m)
        iou = _overlaps(image.found[own], image.boxes[labels], crowds)
        matched, ignored = _match(iou, no_label, crowds)
        outside = (areas[own] < AREAS[:, :1]) | (areas[own] > AREAS[:, 1:])  # (4, n)
        ignored |= ~matched & outside
        yield int(class_id), _Judged(image.confidence[own], matched, ignored, (~no_label).sum(axis=1))


def _overlaps(found: np.ndarray, boxes: np.ndarray, crowds: np.ndarray) -> np.ndarray:
    """Return the IoU ``(n, m)`` of boxes [x, y, w, h]; in a crowd it is the share of the detection that lies in it."""
    low = np.maximum(found[:, None, :2], boxes[:, :2])
    high = np.minimum(found[:, None, :2] + found[:, None, 2:], boxes[:, :2] + boxes[:, 2:])
    inter = (high - low).clip(0).prod(axis=2)
    own, others = found[:, 2:].prod(axis=1)[:, None], boxes[:, 2:].prod(axis=1)
    union = np.where(crowds, own, own + others - inter)
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def _match(iou: np.ndarray, no_label: np.ndarray, crowds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which detections have a label, and which of these have one that does not count, bool (10, 4, n) both.

    Each detection, the best first, takes the label that it overlaps most of those that are left, one that counts if
    there is one; a crowd is never taken.
    """
    n, m = iou.shape
    matched, ignored = np.zeros((2, len(LEVELS), len(AREAS), n), bool)
    free = np.ones((len(LEVELS), len(AREAS), m), bool)
    levels, areas = np.ogrid[: len(LEVELS), : len(AREAS)]
    for row in np.flatnonzero((iou >= LEVELS[0]).any(axis=1)):
        possible = free & (iou[row] >= LEVELS[:, None, None])
        rank = np.where(possible, iou[row] + 2 * ~no_label, -1)
        best = m - 1 - rank[..., ::-1].argmax(axis=2)  # (10, 4), the last of equals
        hit = possible[levels, areas, best]
        matched[..., row] = hit
        ignored[..., row] = hit & no_label[areas, best]
        free[levels, areas, best] &= ~hit | crowds[best]
    return matched, ignored


class _Arrays(NamedTuple):
    """Of a class, at each of CURVES: precision at 101 recalls (10, 101) and the recall reached (10,), nan if none."""

    precision: dict[tuple[int, int], np.ndarray]
    recall: dict[tuple[int, int], np.ndarray]


def _class_arrays(images: Sequence[_Judged]) -> _Arrays:
    arrays = _Arrays({}, {})
    labels = sum((judged.labels for judged in images), np.zeros(len(AREAS), int))
    for area, most in CURVES:
        key = area, most
        arrays.precision[key], arrays.recall[key] = np.full((10, 101), np.nan), np.full(10, np.nan)
        if not labels[area]:
            continue
        confidence = np.concatenate([judged.confidence[:most] for judged in images])
        order = np.argsort(-confidence, kind="stable")
        matched, ignored = (
            np.concatenate([part[:, area, :most] for part in parts], axis=1)[:, order]
            for parts in ([judged.matched for judged in images], [judged.ignored for judged in images])
        )
        hits, false = (matched & ~ignored).cumsum(axis=1), (~matched & ~ignored).cumsum(axis=1)
        recall, precision = hits / labels[area], hits / (hits + false + EPS)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        for level in range(len(LEVELS)):
            place = np.searchsorted(recall[level], RECALLS)
            reached = np.append(precision[level], 0.0)
            arrays.precision[key][level] = reached[place]
        arrays.recall[key][:] = recall[:, -1] if len(order) else 0.0
    return arrays


def _figures(classes: Sequence[_Arrays]) -> dict[str, float]:
    """Return the twelve figures of some classes, each the mean over those for which something is labelled."""
    figures = {}
    for name, (is_precision, levels, *key) in FIGURES.items():
        values = [(each.precision if is_precision else each.recall)[tuple(key)][levels] for each in classes]
        known = [value for value in values if not np.isnan(value).any()]
        figures[name] = float(np.mean(known)) if known else float("nan")
    return figures
