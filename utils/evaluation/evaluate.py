"""Measure a detector on labelled images: precision, recall, average precision, losses, speed."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, zip_longest
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from utils.boxes import cxcywh_to_xyxy, unletterbox
from utils.collective import apart, gather
from utils.data.batch import Batch, Shape
from utils.device import to_float_images
from utils.losses._contract import Loss
from utils.metrics.average_precision import MetricsResult
from utils.metrics.matching import DetectionMetrics, fitness, in_ignored, iou_levels, match_detections
from utils.nms import non_max_suppression
from utils.predictions import Predictions
from utils.progress import progress_bar
from utils.stopwatch import Speed, Stopwatch
from utils.text import distinct_names, fit_right

log = logging.getLogger(__name__)

CLASS_WIDTH = 22
COLUMNS = "%22s%7s%10s%9s%9s%9s%10s"  # under 80
HEADER = COLUMNS % ("Class", "Images", "Instances", "P", "R", "mAP50", "mAP50-95")
ROW = "%s%7i%10i%9.3g%9.3g%9.3g%10.3g"

VAL_IOU = {True: 0.6, False: 0.7}  # has objectness → threshold, of YOLOv5 and of YOLOv8


def val_nms(
    predictions: Predictions, iou_thres: float | None = None, conf_thres: float = 0.001, **options: Any
) -> list[Tensor]:
    """Suppress for an average precision, for which every candidate counts: low confidences, all classes of a box."""
    if iou_thres is None:
        iou_thres = VAL_IOU[predictions.layout.has_objectness]
    return non_max_suppression(predictions, conf_thres, iou_thres, multi_label=True, **options)


@dataclass(frozen=True)
class ImageResult:
    """What was found and what is there in one image, in pixels of the original."""

    path: str
    shape: tuple[int, int]  # height, width
    detections: Tensor  # (n, 6) [xyxy, confidence, class], best first
    labels: Tensor  # (m, 5) [class, xyxy]
    ignored: Tensor = field(default_factory=partial(torch.zeros, 0, 5))  # (k, 5) like labels: regions, see ScanResult


class Observer(Protocol):
    """Looks on while a data set is evaluated; see ``utils.evaluation.observers``."""

    def batch(self, index: int, batch: Batch, detections: Sequence[Tensor], results: Sequence[ImageResult]) -> None:
        """Take a batch with, per image, the detections in pixels of the letterboxed and of the original image."""

    def finish(self, metrics: MetricsResult) -> None:
        """Take the result."""


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation."""

    names: Mapping[int, str]
    metrics: MetricsResult
    losses: list[float]  # of the terms of the loss: means over the batches; empty where no loss was given
    images: int
    speed: Speed

    @property
    def fitness(self) -> float:
        return fitness(self.metrics)

    def figures(self) -> tuple[float, float, float, float]:
        """Return precision, recall, mAP@0.5 and mAP@0.5:0.95."""
        m = self.metrics
        return m.precision, m.recall, m.map50, m.map

    def row(self) -> str:
        """Return the figures of all classes together, as columns under the header."""
        return ROW % (fit_right("all", CLASS_WIDTH), self.images, self.metrics.labels_per_class.sum(), *self.figures())

    def class_rows(self) -> str:
        """Return a line for each class that has labels."""
        m, names = self.metrics, distinct_names(self.names)
        columns = (m.class_ids, m.labels_per_class, m.p, m.r, m.ap50, m.ap.mean(axis=1))
        rows = zip(*columns, strict=True)
        return "\n".join(ROW % (fit_right(names[int(c)], CLASS_WIDTH), self.images, *rest) for c, *rest in rows)


@torch.no_grad()
def evaluate(
    predict: Callable[[Tensor], Predictions | tuple[Predictions, Sequence[Tensor]]],
    loader: Iterable[Batch],
    *,
    names: Mapping[int, str],
    device: torch.device,
    nms: Callable[..., list[Tensor]] = val_nms,
    loss: Loss | None = None,
    single_cls: bool = False,
    observers: Sequence[Observer] = (),
) -> Evaluation:
    """Compare what ``predict`` finds in the images of a loader with their labels, and log the row of all classes.

    ``predict`` turns images (B, 3, H, W) in 0–1 into predictions, or into (predictions, raw maps) where a loss is
    given. ``single_cls`` counts every class as class 0. Precision and mode of the model are the caller's.
    Of a loader that gives a part of the batches, one to each process, all get the result of the whole, to the last bit.
    """
    levels, watch = iou_levels(), Stopwatch(device)
    judged: list[_Judged] = []
    log.info(HEADER)
    for index, batch in enumerate(_shown(loader)):
        batch = _as_one_class(batch) if single_cls else batch
        with watch.phase("preprocess"):
            images = to_float_images(batch.images, device)
        with watch.phase("inference"):
            output = predict(images)
        predictions, maps = (output, None) if loss is None else output
        with apart():  # the others have another number of batches
            terms = torch.zeros(0) if loss is None else loss(maps, batch.targets)[1]
        with watch.phase("nms"):
            detections = [found.cpu() for found in nms(predictions, agnostic=single_cls)]
            for found in detections if single_cls else ():
                found[:, 5] = 0

        results = _compare(batch, detections)
        judged.append(_Judged([_judge(result, levels) for result in results], terms))
        for observer in observers:
            observer.batch(index, batch, detections, results)

    judged = _of_all(judged) if getattr(loader, "is_part", False) else judged
    metrics, images_seen = _metrics(judged), sum(len(batch.images) for batch in judged)
    for observer in observers:
        observer.finish(metrics)
    evaluation = Evaluation(names, metrics, _mean_losses(judged), images_seen, watch.speed(images_seen))
    log.info(evaluation.row())
    return evaluation


class _Judged(NamedTuple):
    """A batch: per image what ``DetectionMetrics.update`` takes."""

    images: list[tuple[Tensor, ...]]
    terms: Tensor  # of the loss


def _judge(result: ImageResult, levels: Tensor) -> tuple[Tensor, ...]:
    found = result.detections
    correct = match_detections(found, result.labels, levels)
    ignored = in_ignored(found, correct, result.ignored, levels)
    return correct, found[:, 4], found[:, 5], result.labels[:, 0], ignored


def _metrics(judged: Sequence[_Judged]) -> MetricsResult:
    metrics = DetectionMetrics()
    for image in chain.from_iterable(batch.images for batch in judged):
        metrics.update(*image)
    return metrics.compute()


def _mean_losses(judged: Sequence[_Judged]) -> list[float]:
    """Return the mean of each term of the loss over the batches, nothing without a loss."""
    if not judged:
        return []
    return (sum(batch.terms for batch in judged) / len(judged)).tolist()


def _of_all(judged: list[_Judged]) -> list[_Judged]:
    """Return the batches of all processes, of which each has every so many, in the order of one process."""
    device = judged[0].terms.device if judged else torch.device("cpu")
    parts = gather([(batch.images, batch.terms.cpu()) for batch in judged])
    in_order = chain.from_iterable(zip_longest(*parts))
    return [_Judged(images, terms.to(device)) for images, terms in filter(None, in_order)]


def _shown(loader: Iterable[Batch]) -> Iterator[Batch]:
    with progress_bar(loader, f"{'validation':>22}", stays=False) as batches:
        yield from batches


def _as_one_class(batch: Batch) -> Batch:
    targets, ignored = batch.targets.clone(), batch.ignored.clone()
    targets[:, 1] = ignored[:, 1] = 0
    return replace(batch, targets=targets, ignored=ignored)


def _compare(batch: Batch, detections: Sequence[Tensor]) -> list[ImageResult]:
    """Return detections and labels of each image in pixels of the original."""
    results = []
    for index, (path, found, geometry) in enumerate(zip(batch.paths, detections, batch.shapes, strict=True)):
        shape, ratio, pad = geometry
        labels, ignored = (
            _in_original(rows[rows[:, 0] == index, 1:], batch.images.shape[-2:], geometry)
            for rows in (batch.targets, batch.ignored)
        )
        found = torch.cat((unletterbox(found[:, :4], ratio, pad, shape), found[:, 4:]), dim=1)
        results.append(ImageResult(path, shape, found, labels, ignored))
    return results


def _in_original(rows: Tensor, size: tuple[int, int], geometry: Shape) -> Tensor:
    """Return rows [class, cx, cy, w, h] in 0–1 of a batch's pictures (height, width) as [class, xyxy] of the file."""
    shape, ratio, pad = geometry
    boxes = cxcywh_to_xyxy(rows[:, 1:]) * rows.new_tensor([size[1], size[0], size[1], size[0]])
    return torch.cat((rows[:, :1], unletterbox(boxes, ratio, pad, shape)), dim=1)
