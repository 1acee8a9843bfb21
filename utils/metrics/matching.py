"""Judge detections: which are correct at ten IoU levels, and what that makes for a data set."""

import numpy as np
import torch
from torch import Tensor

from utils.boxes import box_iou, box_shares
from utils.metrics.average_precision import MetricsResult, ap_per_class

IOU_LEVELS = 10


def iou_levels(device: torch.device | str = "cpu") -> Tensor:
    """Return the IoU levels of COCO, 0.50, 0.55 … 0.95."""
    return torch.linspace(0.5, 0.95, IOU_LEVELS, device=device)


def match_detections(detections: Tensor, labels: Tensor, iou_levels: Tensor) -> Tensor:
    """Return, for each of the ``detections (n, 6)`` of an image, at which levels it is correct, bool ``(n, levels)``.

    ``detections`` are [xyxy, confidence, class], best first; ``labels (m, 5)`` [class, xyxy] in the same pixels. A
    detection goes to the label of its class that it overlaps most. Of those that reach an IoU level with a label, the
    first is correct there.
    """
    correct = torch.zeros(len(detections), len(iou_levels), dtype=torch.bool, device=detections.device)
    if not len(detections) or not len(labels):
        return correct
    iou = box_iou(detections[:, :4], labels[:, 1:]) * (detections[:, 5:6] == labels[:, 0])
    best, label = iou.max(dim=1)  # (n,)
    reached = best[:, None] >= iou_levels  # (n, levels)
    position = torch.arange(len(detections), device=iou.device)[:, None].expand_as(reached)
    label = label[:, None].expand_as(reached)
    first = position.new_full((len(labels), len(iou_levels)), len(detections))
    first.scatter_reduce_(0, label, torch.where(reached, position, len(detections)), "amin")
    return reached & (first.gather(0, label) == position)


def in_ignored(detections: Tensor, correct: Tensor, ignored: Tensor, iou_levels: Tensor) -> Tensor:
    """Return which detections count neither as correct nor as false, as COCO has it, at each level, ``(n, levels)``.

    These are those that are not ``correct (n, levels)`` and of which a share as large as the IoU level lies in a region
    of their class. ``ignored (k, 5)`` [class, xyxy] are the regions: crowds, and difficult objects.
    """
    if not len(detections) or not len(ignored):
        return torch.zeros_like(correct)
    shares = box_shares(detections[:, :4], ignored[:, 1:]) * (detections[:, 5:6] == ignored[:, 0])
    return ~correct & (shares.amax(dim=1)[:, None] >= iou_levels)


class DetectionMetrics:
    """Gathers the judged detections of a data set, image by image; ``compute`` gives the metrics."""

    def __init__(self) -> None:
        self._chunks: list[tuple[np.ndarray, ...]] = [
            (np.zeros((0, IOU_LEVELS), bool), np.zeros(0), np.zeros(0), np.zeros(0), np.zeros((0, IOU_LEVELS), bool))
        ]

    def update(
        self, correct: Tensor, confidence: Tensor, predicted: Tensor, labelled: Tensor, ignored: Tensor | None = None
    ) -> None:
        """Add an image: ``correct (n, 10)``, confidences ``(n,)`` and classes ``(n,)``; classes ``(m,)`` of labels.

        ``ignored (n, 10)`` are the detections that do not count.
        """
        ignored = torch.zeros_like(correct) if ignored is None else ignored
        self._chunks.append(tuple(t.cpu().numpy() for t in (correct, confidence, predicted, labelled, ignored)))

    def compute(self) -> MetricsResult:
        """Return the metrics of all images so far."""
        return ap_per_class(*(np.concatenate(column) for column in zip(*self._chunks, strict=True)))


def fitness(result: MetricsResult) -> float:
    """Return the figure by which epochs are compared: 0.1 · mAP@0.5 + 0.9 · mAP@0.5:0.95."""
    return 0.1 * result.map50 + 0.9 * result.map
