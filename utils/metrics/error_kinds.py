"""What kinds of errors a detector makes, and how much mAP@0.5 each of them costs.

Paper: TIDE: A General Toolbox for Identifying Object Detection Errors, https://arxiv.org/abs/2008.08115, Sec. 2.

A detection that is not correct at IoU 0.5 is of the first of these kinds that fits; docs/validate.md has them in words.
The paper leaves open which goes first where two fit.

    duplicate       IoU ≥ 0.5 with a label of its class, which a more confident detection has
    class           IoU ≥ 0.5 with a label of another class
    localisation    0.1 ≤ IoU < 0.5 with a label of its class
    both            0.1 ≤ IoU < 0.5 with a label of another class
    background      IoU < 0.1 with every label

``missed`` is a label that is not found, nor the label of an error of class or localisation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from utils.boxes import box_iou
from utils.metrics.average_precision import ap_per_class

FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU, t_f and t_b of the paper
CORRECT, DUPLICATE, CLASS, LOCALISATION, BOTH, NOTHING, IGNORED = range(7)
KINDS: Mapping[str, int] = {
    "class": CLASS,
    "localisation": LOCALISATION,
    "both": BOTH,
    "duplicate": DUPLICATE,
    "background": NOTHING,
}
MISSED = "missed"
SURE = 0.25  # confidence above which errors are counted, that of the confusion matrix


@dataclass(frozen=True)
class ImageErrors:
    """The verdict on an image's n detections and m labels at IoU 0.5."""

    kind: np.ndarray  # (n,) CORRECT … IGNORED
    label: np.ndarray  # (n,) position of the label that the verdict is about, -1 for NOTHING and IGNORED
    confidence: np.ndarray  # (n,)
    predicted: np.ndarray  # (n,)
    labelled: np.ndarray  # (m,) classes

    def missed(self, above: float = 0.0) -> np.ndarray:
        """Return which labels are missed, bool ``(m,)``, by the detections of a confidence ``above`` some."""
        covers = np.isin(self.kind, (CORRECT, CLASS, LOCALISATION)) & (self.confidence > above)
        missed = np.ones(len(self.labelled), bool)
        missed[self.label[covers]] = False
        return missed


def image_errors(detections: Tensor, labels: Tensor, correct: Tensor, ignored: Tensor) -> ImageErrors:
    """Return the kinds of ``detections (n, 6)`` [xyxy, confidence, class], best first, among ``labels (m, 5)``.

    ``correct (n,)`` and ``ignored (n,)`` are the verdicts of ``match_detections`` and ``in_ignored`` at IoU 0.5. A
    detection's verdict does not depend on less confident ones.
    """
    n = len(detections)
    if not len(labels):
        labels = torch.full((1, 5), -1.0)  # one that nothing overlaps, as there is no maximum of nothing
    iou = box_iou(detections[:, :4], labels[:, 1:])
    same = detections[:, 5:6] == labels[:, 0]
    own, own_label = (iou * same).max(dim=1)
    other, other_label = (iou * ~same).max(dim=1)
    kind = torch.full((n,), NOTHING)
    for code, fits in (  # the last that fits counts here
        (BOTH, other >= BACKGROUND),
        (LOCALISATION, (own >= BACKGROUND) & (own < FOREGROUND)),
        (CLASS, other >= FOREGROUND),
        (DUPLICATE, own >= FOREGROUND),
        (IGNORED, ignored),
        (CORRECT, correct),
    ):
        kind[fits] = code
    label = torch.where((kind == CLASS) | (kind == BOTH), other_label, own_label)
    label[(kind == NOTHING) | (kind == IGNORED)] = -1
    columns = (kind, label, detections[:, 4], detections[:, 5], labels[labels[:, 0] >= 0, 0])
    return ImageErrors(*(column.numpy() for column in columns))


@dataclass(frozen=True)
class ErrorShares:
    """The errors of a data set, by kind and with ``missed``."""

    counts: dict[str, int]  # of detections above SURE, and of labels that these miss
    costs: dict[str, float]  # mAP@0.5 that mending all errors of a kind would add, whatever their confidence
    map50: float
    false_positives: float  # mAP@0.5 that leaving out all errors would add
    false_negatives: float  # the same of all labels that are not found

    def shares(self) -> dict[str, float]:
        """Return the part of all errors that each kind is; 0 of each where there is none."""
        total = max(sum(self.counts.values()), 1)
        return {kind: count / total for kind, count in self.counts.items()}


class ErrorTally:
    """Gathers the verdicts on a data set, image by image."""

    def __init__(self) -> None:
        self.images: list[ImageErrors] = []

    def update(self, errors: ImageErrors) -> None:
        """Add an image."""
        self.images.append(errors)

    def compute(self) -> ErrorShares:
        """Return the errors of all images so far; everything is 0 where there is none."""
        images = self.images or [ImageErrors(*np.zeros((2, 0), int), *np.zeros((3, 0)))]
        starts = np.cumsum([0] + [len(image.labelled) for image in images])
        everything = _Everything(
            kind=np.concatenate([image.kind for image in images]),
            label=np.concatenate([image.label + start for image, start in zip(images, starts[:-1], strict=True)]),
            confidence=np.concatenate([image.confidence for image in images]),
            predicted=np.concatenate([image.predicted for image in images]),
            labelled=np.concatenate([image.labelled for image in images]),
            missed=np.concatenate([image.missed() for image in images]),
        )
        sure = everything.kind[everything.confidence > SURE]
        counts = {name: int((sure == code).sum()) for name, code in KINDS.items()}
        counts[MISSED] = int(sum(image.missed(SURE).sum() for image in images))
        return everything.shares(counts)


@dataclass(frozen=True)
class _Everything:
    """The verdicts of all images together; ``label`` is a position among all labels."""

    kind: np.ndarray
    label: np.ndarray
    confidence: np.ndarray
    predicted: np.ndarray
    labelled: np.ndarray
    missed: np.ndarray

    def shares(self, counts: dict[str, int]) -> ErrorShares:
        """Return the mAP@0.5 that mending each kind adds (Sec. 2.3 of the paper)."""
        everything, all_labels = np.ones(len(self.kind), bool), np.ones(len(self.labelled), bool)
        map50 = self._map50(everything, all_labels)
        costs = {}
        for name, code in KINDS.items():
            mended = self._mended(code) if code in (CLASS, LOCALISATION) else self._map50(self.kind != code, all_labels)
            costs[name] = mended - map50
        costs[MISSED] = self._map50(everything, ~self.missed) - map50
        right = (self.kind == CORRECT) | (self.kind == IGNORED)
        found = np.zeros(len(self.labelled), bool)
        found[self.label[self.kind == CORRECT]] = True
        false_positives = self._map50(right, all_labels) - map50
        return ErrorShares(counts, costs, map50, false_positives, self._map50(everything, found) - map50)

    def _mended(self, code: int) -> float:
        """Return the mAP@0.5 where errors of a kind get class or box of their label; of each label the best one stays.

        The others of a label would be duplicates, and are left out.
        """
        claims = np.flatnonzero((self.kind == CORRECT) | (self.kind == code))
        claims = claims[np.argsort(-self.confidence[claims], kind="stable")]
        _, first = np.unique(self.label[claims], return_index=True)
        correct, kept = np.zeros((2, len(self.kind)), bool)
        correct[claims[first]] = True
        kept[:] = True
        kept[claims] = correct[claims]
        predicted = self.predicted.copy()
        predicted[correct] = self.labelled[self.label[correct]]
        return _ap50(correct, self.confidence, predicted, self.labelled, self.kind == IGNORED, kept)

    def _map50(self, kept: np.ndarray, labels: np.ndarray) -> float:
        """Return the mAP@0.5 of the detections that are ``kept (n,)`` for some of the ``labels (m,)``."""
        ignored = self.kind == IGNORED
        return _ap50(self.kind == CORRECT, self.confidence, self.predicted, self.labelled[labels], ignored, kept)


def _ap50(
    correct: np.ndarray,
    confidence: np.ndarray,
    predicted: np.ndarray,
    labelled: np.ndarray,
    ignored: np.ndarray,
    kept: np.ndarray,
) -> float:
    return ap_per_class(correct[kept, None], confidence[kept], predicted[kept], labelled, ignored[kept, None]).map50
