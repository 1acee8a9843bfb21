"""Confusion matrix of a detector: what the objects of each class were taken for."""

import numpy as np
import torch
from torch import Tensor

from utils.boxes import box_iou, box_shares


class ConfusionMatrix:
    """Counts ``matrix (nc + 1, nc + 1)`` [predicted class, true class]; the last row and column are the background.

    A row of the background counts missed labels, its column detections without a label. Unlike in the reference,
    these are counted in every image; there, images in which no detection met a label were left out.
    """

    def __init__(self, nc: int, conf: float = 0.25, iou: float = 0.45) -> None:
        self.matrix = np.zeros((nc + 1, nc + 1), dtype=np.int64)
        self.conf = conf
        self.iou = iou

    def update(self, detections: Tensor, labels: Tensor, ignored: Tensor | None = None) -> None:
        """Add an image: ``detections (n, 6)`` [xyxy, confidence, class], ``labels (m, 5)`` [class, xyxy], same pixels.

        Detections above ``conf`` and labels that overlap by more than ``iou`` are paired whatever their classes: each
        detection goes to the label it overlaps most, each label takes the best of those. Of the others, those of which
        a share of ``iou`` lies in a region of their class, ``ignored (k, 5)`` like labels, do not count.
        """
        background = len(self.matrix) - 1
        detections = detections[detections[:, 4] > self.conf].cpu()
        labels = labels.cpu()
        predicted, true = detections[:, 5].long().numpy(), labels[:, 0].long().numpy()
        detection, label = self._pairs(box_iou(detections[:, :4], labels[:, 1:]))
        np.add.at(self.matrix, (predicted[detection], true[label]), 1)
        np.add.at(self.matrix, (background, np.delete(true, label)), 1)
        absent = np.zeros(0, np.int64)
        if ignored is not None and len(ignored):
            shares = box_shares(detections[:, :4], ignored[:, 1:].cpu()) * (detections[:, 5:6] == ignored[:, 0].cpu())
            absent = (shares.amax(dim=1) >= self.iou).nonzero()[:, 0].numpy()
        np.add.at(self.matrix, (np.delete(predicted, np.union1d(detection, absent)), background), 1)

    def _pairs(self, iou: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions of paired detections and labels, from their overlaps ``(n, m)``."""
        if not iou.numel():
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        best, label = iou.max(dim=1)
        claims = torch.zeros_like(iou).scatter_(1, label[:, None], best[:, None])  # one label per detection
        best, detection = claims.max(dim=0)  # one detection per label
        paired = best > self.iou
        return detection[paired].numpy(), paired.nonzero()[:, 0].numpy()
