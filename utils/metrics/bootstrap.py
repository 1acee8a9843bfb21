"""How far the mAP depends on which images were in the data set: the bootstrap over images; numpy.

Paper: An Introduction to the Bootstrap, Efron and Tibshirani, 1993, the percentile interval (chapter 13).

A resample draws as many images as there are, with replacement: an image that is drawn w times counts w times. So it is
a set of weights, and cumulated weights take the place of counted detections in the average precision. It needs the
precision at detections that are correct only; which is why whole resamples are vectors here, none is a data set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from utils.metrics.average_precision import EPS, RECALL_POINTS

ROOM = 20_000_000  # weights of detections that are held at once
CONFIDENCE_LEVEL = 0.95


class JudgedImage(NamedTuple):
    """What ``DetectionMetrics.update`` takes of an image, as arrays."""

    correct: np.ndarray  # (n, 10) bool
    confidence: np.ndarray  # (n,)
    predicted: np.ndarray  # (n,)
    labelled: np.ndarray  # (m,)
    ignored: np.ndarray  # (n, 10) bool


@dataclass(frozen=True)
class Interval:
    """Limits of mAP@0.5 and mAP@0.5:0.95 between which 95 of 100 resamples lie, and how many were drawn."""

    map50: tuple[float, float]
    map: tuple[float, float]
    resamples: int


def bootstrap_interval(images: Sequence[JudgedImage], resamples: int, seed: int = 0) -> Interval:
    """Return the interval of the mAPs of a data set, from as many ``resamples`` of its images.

    It tells how far the mAP varies with the images. That a few images have a higher mAP on average than many,
    because precisions are made monotone, it does not correct.
    """
    draws = bootstrap_maps(images, resample(len(images), resamples, seed))
    tail = 100 * (1 - CONFIDENCE_LEVEL) / 2
    low, high = np.percentile(draws, [tail, 100 - tail], axis=0)
    return Interval((float(low[0]), float(high[0])), (float(low[1]), float(high[1])), resamples)


def resample(images: int, resamples: int, seed: int) -> np.ndarray:
    """Return how often each image is drawn, int32 ``(resamples, images)``; each row sums to ``images``."""
    rng = np.random.default_rng(seed)
    draws = (np.bincount(rng.integers(0, images, images), minlength=images) for _ in range(resamples if images else 0))
    return np.array(list(draws), np.int32).reshape(resamples, images)


def bootstrap_maps(images: Sequence[JudgedImage], weights: np.ndarray) -> np.ndarray:
    """Return mAP@0.5 and mAP@0.5:0.95 ``(B, 2)`` of the images taken ``weights (B, images)`` times, exactly.

    As in ``ap_per_class``, the mean is over the classes that have labels; 0 where none has.
    """
    if not images:
        return np.zeros((len(weights), 2))
    correct, confidence, predicted, labelled, ignored = (np.concatenate(column) for column in zip(*images, strict=True))
    image_of = np.repeat(np.arange(len(images)), [len(image.confidence) for image in images])
    image_of_label = np.repeat(np.arange(len(images)), [len(image.labelled) for image in images])
    order = np.lexsort((-confidence, predicted))
    chunk = max(ROOM // max(len(order), 1), 1)
    results = []
    for start in range(0, len(weights), chunk):
        drawn, per_class = weights[start : start + chunk], []
        for class_id in np.unique(labelled):
            own = order[predicted[order] == class_id]
            n_labels = drawn[:, image_of_label[labelled == class_id]].sum(axis=1)
            times = drawn[:, image_of[own]]
            per_class.append(_class_ap(times, correct[own], ignored[own], n_labels))
        results.append(_means(per_class, len(drawn)))
    return np.concatenate(results)


def _class_ap(times: np.ndarray, correct: np.ndarray, ignored: np.ndarray, n_labels: np.ndarray) -> np.ndarray:
    """Return the AP ``(B, 10)`` of a class, nan where it has no labels.

    ``times (B, n)`` is how often each detection counts, best first.
    """
    ap = np.full((len(times), correct.shape[1]), np.nan)
    total = times.cumsum(axis=1)
    for level in range(correct.shape[1]):
        hits = np.flatnonzero(correct[:, level])
        counted = (times * ~ignored[:, level]).cumsum(axis=1) if ignored[:, level].any() else total
        last = counted[:, -1] if counted.shape[1] else np.zeros(len(times), np.int64)
        ap[:, level] = _weighted_ap(times[:, hits].cumsum(axis=1), counted[:, hits], last, n_labels)
    ap[n_labels == 0] = np.nan
    return ap


def _weighted_ap(hits: np.ndarray, counted: np.ndarray, last: np.ndarray, n_labels: np.ndarray) -> np.ndarray:
    """Return the average precision ``(B,)`` from what is known at the t correct detections of a class, best first.

    ``hits (B, t)`` are the correct ones up to there, ``counted (B, t)`` all up to there, ``last (B,)`` all in the end.
    Up to the recall reached, the precision of a recall is the highest one at any greater recall; from there on YOLOv5
    draws a straight line to precision 0 at recall 1. Both is what interpolating between all detections comes to.
    """
    rows, t = hits.shape
    x = np.linspace(0, 1, RECALL_POINTS)
    n_labels = n_labels[:, None] + EPS
    precision = hits / counted.clip(1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = hits[:, -1:] if t else np.zeros((rows, 1), np.int64)

    # the largest number of hits whose recall is at most x, in whole numbers, so that it is exact
    limit = np.floor(x * n_labels).astype(np.int64) + 1
    for _ in range(2):
        limit -= limit / n_labels > x
    apart = np.arange(rows)[:, None] * (int(max(hits.max(initial=0), limit.max(initial=0))) + 2)
    place = np.searchsorted((hits + apart).ravel(), (limit + apart).ravel(), side="right").reshape(rows, -1)
    place -= np.arange(rows)[:, None] * t

    final, recall = reached / last[:, None].clip(1), reached / n_labels
    line = final * (1 - x) / np.maximum(1 - recall, EPS)
    inside = np.take_along_axis(envelope, place.clip(max=t - 1), axis=1) if t else line
    heights = np.where(place < t, inside, line)
    return (heights[:, :-1] + heights[:, 1:]).sum(axis=1) / 2 / (RECALL_POINTS - 1)


def _means(per_class: Sequence[np.ndarray], rows: int) -> np.ndarray:
    """Return (B, 2), the means over the classes at the first level and at all, from their APs ``(B, 10)``."""
    if not per_class:
        return np.zeros((rows, 2))
    ap = np.stack(per_class)  # (K, B, 10)
    counts = (~np.isnan(ap[..., 0])).sum(axis=0).clip(1)  # (B,) classes with labels
    return np.stack((np.nansum(ap[..., 0], axis=0), np.nansum(ap, axis=0).mean(axis=1)), axis=1) / counts[:, None]
