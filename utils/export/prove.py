"""Compare a written file, opened as ``val.py`` and ``detect.py`` open it, with the detector that it was made from."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from utils.boxes import box_iou
from utils.checkpoint.facts import Backend
from utils.data.image.read import read_image
from utils.data.letterbox import letterbox
from utils.export.compare import STRICT, Comparison, Limits, compare_on, example_images
from utils.export.graph import other_shape
from utils.export.order import Order
from utils.export.suppress import Suppression
from utils.nms import DETECT_IOU, non_max_suppression
from utils.predictions import Predictions
from utils.runs import ROOT

log = logging.getLogger(__name__)

TWINS = 0.9  # overlap of two detections from which they are the same box, moved
SAMPLES = ROOT / "data/images"


def prove(backend: Backend, order: Order, runtime: str) -> list[Comparison]:
    """Return how far the file is from PyTorch: on two sizes and batches where it takes them, and on real images.

    Raises: RejectedError where it answers in another form.
    """
    shapes = [order.shape]
    if backend.fixed_size is None:
        shapes.insert(0, other_shape(order.shape, order.model.detector.size_multiple))
    samples = sample_images(order.shape)
    batches = [example_images(shape) for shape in shapes] + ([samples] if samples is not None else [])
    if backend.layout.is_suppressed:
        comparisons = [compare_detections(backend, order, images) for images in batches]
        if not any(comparison.detections for comparison in comparisons):
            log.warning(
                "suppression was compared on images in which nothing is found with a confidence of %g",
                order.nms.conf_thres,
            )
        return comparisons

    def run(images: Tensor) -> Tensor:
        return backend(images.to(order.device)).output.cpu()

    comparisons = [compare_on(run, order.model, images, order.limits, runtime) for images in batches]
    if samples is not None:
        comparisons[-1] = _with_detections(comparisons[-1], backend, order, samples)
    return comparisons


def sample_images(shape: Sequence[int]) -> Tensor | None:
    """Return the pictures of the clone as images (B, 3, H, W), None without or for other channels."""
    files = sorted(SAMPLES.glob("*.jpg"))
    if not files or shape[1] != 3:
        return None
    boxed = [letterbox(read_image(files[i % len(files)]), shape[2:])[0] for i in range(max(shape[0], len(files)))]
    return torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in boxed]) / 255


def _with_detections(comparison: Comparison, backend: Backend, order: Order, images: Tensor) -> Comparison:
    """Return the comparison with how many detections are the same."""
    nms = Suppression(iou_thres=DETECT_IOU[order.model.layout.has_objectness], max_det=300)
    found = _suppressed(backend(images.to(order.device)), nms)
    detections, same, _ = _matched(detections_of(order, images, nms), found, nms, order.limits)
    limits = order.limits
    if comparison.box_px <= STRICT.box_px and comparison.score <= STRICT.score:
        limits = replace(
            limits, same=0.0
        )  # so little decides between equals alone, of which an untrained model has many
    return replace(comparison, detections=detections, same=same, limits=limits)


def compare_detections(backend: Backend, order: Order, images: Tensor) -> Comparison:
    """Return how far the detections of a file that suppresses are from those that suppression of PyTorch's leaves."""
    nms = order.nms
    found = _suppressed(backend(images.to(order.device)), nms)
    detections, same, largest = _matched(detections_of(order, images, nms), found, nms, order.limits)
    return Comparison(tuple(images.shape), *largest, detections=detections, same=same, limits=order.limits)


def detections_of(order: Order, images: Tensor, nms: Suppression) -> list[Tensor]:
    """Return for each image the detections (n, 6) of PyTorch."""
    with torch.inference_mode():
        return _suppressed(Predictions(order.model(images), order.model.layout), nms)


def _suppressed(predictions: Predictions, nms: Suppression) -> list[Tensor]:
    options = {"agnostic": nms.agnostic, "max_det": nms.max_det}
    found = non_max_suppression(predictions, nms.conf_thres, nms.iou_thres, **options)
    return [rows.cpu() for rows in found]


def _matched(
    expected: Sequence[Tensor], found: Sequence[Tensor], nms: Suppression, limits: Limits
) -> tuple[int, int, tuple[float, float]]:
    """Return how many detections there are in both, how many have their like in the other, and the largest differences.

    Those whose confidence is as near as scores may differ to where the other list ends are not counted.
    """
    count = same = 0
    largest = torch.zeros(2)
    for ours, theirs in zip(expected, found, strict=True):
        for rows, others in ((ours, theirs), (theirs, ours)):
            end = float(others[:, 4].min()) if len(others) == nms.max_det else nms.conf_thres
            rows = rows[rows[:, 4] > end + limits.score]
            iou = box_iou(rows[:, :4], others[:, :4])  # (n, m)
            score = (rows[:, None, 4] - others[:, 4]).abs()
            iou[(rows[:, None, 5] != others[:, 5]) | (score > limits.score)] = 0
            best, index = iou.max(dim=1) if len(others) else (iou.new_zeros(len(rows)), iou.new_zeros(len(rows)).long())
            count, same = count + len(rows), same + int((best >= limits.iou).sum())
            twins = best >= TWINS
            difference = (rows[twins] - others[index[twins]]).abs()
            if len(difference):
                largest = torch.maximum(largest, torch.stack((difference[:, :4].max(), difference[:, 4].max())))
    return count, same, (float(largest[0]), float(largest[1]))
