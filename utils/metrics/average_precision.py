"""Precision, recall and average precision per class, from detections marked as correct or not; numpy."""

from dataclasses import dataclass

import numpy as np

CURVE_POINTS = 1000  # of every curve that is returned
RECALL_POINTS = 101  # at which the precision is integrated
SMOOTHING_POINTS = 101  # of the F1 curve, before its maximum is looked for
EPS = 1e-16


@dataclass(frozen=True)
class MetricsResult:
    """Results of a data set, one row for each of the K classes that have labels; everything is 0 where K is 0.

    ``p``, ``r`` and ``f1`` hold at one confidence threshold for all classes, that of the best mean F1 (smoothed).
    The curves are those at the first IoU level, 0.5.
    """

    class_ids: np.ndarray  # (K,) int64, ascending
    labels_per_class: np.ndarray  # (K,) int64
    ap: np.ndarray  # (K, 10) average precision at each IoU level
    p: np.ndarray  # (K,)
    r: np.ndarray  # (K,)
    f1: np.ndarray  # (K,)
    px: np.ndarray  # (1000,) from 0 to 1: confidence of the next three, recall of ``py``
    p_curve: np.ndarray  # (K, 1000) precision
    r_curve: np.ndarray  # (K, 1000) recall
    f1_curve: np.ndarray  # (K, 1000)
    py: np.ndarray  # (K, 1000) precision, made monotone, over recall

    @property
    def precision(self) -> float:
        return _mean(self.p)

    @property
    def recall(self) -> float:
        return _mean(self.r)

    @property
    def ap50(self) -> np.ndarray:
        return self.ap[:, 0]

    @property
    def map50(self) -> float:
        return _mean(self.ap[:, 0])

    @property
    def map(self) -> float:
        """Mean over classes and IoU levels, the mAP@0.5:0.95."""
        return _mean(self.ap)

    @property
    def confidence(self) -> float:
        """The threshold at which ``p``, ``r`` and ``f1`` hold, the highest of several; nan without labels."""
        if not len(self.class_ids):
            return float("nan")
        alike = (self.f1_curve == self.f1[:, None]).all(axis=0)
        return float(self.px[_end_of_run(alike, _best_of(self.f1_curve))])

    @property
    def best_f1(self) -> np.ndarray:
        """The highest F1 ``(K,)`` that each class reaches at any threshold, at IoU 0.5."""
        return self.f1_curve.max(axis=1)

    @property
    def best_confidence(self) -> np.ndarray:
        """The threshold ``(K,)`` of ``best_f1``, the highest of several; nan where nothing is found.

        A lower one is alike only for what was measured: detections that it would let in may have been left out before.
        """
        at_best = self.f1_curve >= self.best_f1[:, None]
        highest = [self.px[row].max() if f1 else np.nan for row, f1 in zip(at_best, self.best_f1, strict=True)]
        return np.array(highest, float)

    def maps(self, nc: int) -> np.ndarray:
        """Return the AP ``(nc,)`` of every class; that of a class without labels is the mean of the others."""
        maps = np.full(nc, self.map)
        maps[self.class_ids] = self.ap.mean(axis=1)
        return maps


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else 0.0


def ap_per_class(
    correct: np.ndarray,
    confidence: np.ndarray,
    predicted: np.ndarray,
    labelled: np.ndarray,
    ignored: np.ndarray | None = None,
) -> MetricsResult:
    """Return the metrics of n detections and m labels of a whole data set.

    ``correct (n, 10)`` says whether a detection is right at each IoU level, ``confidence (n,)`` and ``predicted (n,)``
    are its confidence and class; ``labelled (m,)`` are the classes of the labels. At the levels at which it is
    ``ignored (n, 10)``, a detection is as good as absent.
    """
    class_ids, n_labels = np.unique(labelled.astype(np.int64), return_counts=True)
    order = np.lexsort((-confidence, predicted))  # by class, then the most confident first
    correct, confidence, predicted = correct[order], confidence[order], predicted[order]
    counts = np.ones_like(correct, dtype=bool) if ignored is None else ~ignored[order]
    first, last = np.searchsorted(predicted, class_ids), np.searchsorted(predicted, class_ids, side="right")

    px = np.linspace(0, 1, CURVE_POINTS)
    ap = np.zeros((len(class_ids), correct.shape[1]))
    p_curve, r_curve, py = np.zeros((3, len(class_ids), CURVE_POINTS))
    for k in np.flatnonzero(last > first):
        own = slice(first[k], last[k])
        hits, counted = correct[own].cumsum(axis=0), counts[own]  # (n, 10)
        recall, precision = hits / (n_labels[k] + EPS), hits / counted.cumsum(axis=0).clip(1)
        for level in np.flatnonzero(counted.any(axis=0)):
            kept = counted[:, level]
            envelope = _envelope(recall[kept, level], precision[kept, level])
            ap[k, level] = _area(*envelope)
            if level == 0:  # np.interp wants ascending abscissae
                r_curve[k] = np.interp(-px, -confidence[own][kept], recall[kept, 0], left=0)
                p_curve[k] = np.interp(-px, -confidence[own][kept], precision[kept, 0], left=1)
                py[k] = np.interp(px, *envelope)

    f1_curve = 2 * p_curve * r_curve / (p_curve + r_curve + EPS)
    best = _best_of(f1_curve)
    return MetricsResult(
        class_ids=class_ids,
        labels_per_class=n_labels,
        ap=ap,
        p=p_curve[:, best],
        r=r_curve[:, best],
        f1=f1_curve[:, best],
        px=px,
        p_curve=p_curve,
        r_curve=r_curve,
        f1_curve=f1_curve,
        py=py,
    )


def _end_of_run(alike: np.ndarray, first: int) -> int:
    """Return the position of the last of the neighbours that are ``alike (n,)``, from ``first`` on."""
    return first + int(np.append(alike[first:], False).argmin()) - 1 if alike[first] else first


def _best_of(f1_curve: np.ndarray) -> int:
    """Return the position of the best mean F1, smoothed, of the curves ``(K, 1000)`` of the classes."""
    return int(_smooth(f1_curve.sum(axis=0) / max(len(f1_curve), 1)).argmax())


def _envelope(recall: np.ndarray, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return recall ``(n + 2,)`` from 0 to 1 and, at each, the highest precision at that or a greater recall."""
    recall = np.concatenate(([0.0], recall, [1.0]))
    precision = np.concatenate(([1.0], precision, [0.0]))
    return recall, np.maximum.accumulate(precision[::-1])[::-1]


def _area(recall: np.ndarray, precision: np.ndarray) -> float:
    """Return the area under precision over recall by the trapezoidal rule on 101 points."""
    heights = np.interp(np.linspace(0, 1, RECALL_POINTS), recall, precision)
    return float((heights[:-1] + heights[1:]).sum() / 2 / (RECALL_POINTS - 1))


def _smooth(curve: np.ndarray) -> np.ndarray:
    """Return the moving average of a curve whose ends are continued."""
    padded = np.pad(curve, SMOOTHING_POINTS // 2, mode="edge")
    return np.convolve(padded, np.full(SMOOTHING_POINTS, 1 / SMOOTHING_POINTS), mode="valid")
