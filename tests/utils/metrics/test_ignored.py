"""Regions that are no labels: what lies in them counts neither as correct nor as false, as pycocotools has it."""

import contextlib
import io
import itertools

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from utils.evaluation.coco import score
from utils.evaluation.evaluate import ImageResult
from utils.metrics.average_precision import ap_per_class
from utils.metrics.confusion import ConfusionMatrix
from utils.metrics.matching import in_ignored, iou_levels, match_detections

CLASSES = 3


def image_of(rng: np.random.Generator) -> ImageResult:
    """Return labels far from each other, crowds anywhere, and detections near labels, in crowds and elsewhere."""
    corners = np.array([(x, y) for x in range(0, 400, 100) for y in range(0, 400, 100)], float)
    places = corners[rng.permutation(len(corners))[: rng.integers(0, 6)]] + rng.uniform(0, 10, 2)
    labels = np.concatenate([places, places + rng.uniform(30, 60, (len(places), 2))], 1)
    starts = rng.uniform(0, 250, (rng.integers(0, 3), 2))
    crowds = np.concatenate([starts, starts + rng.uniform(50, 200, (len(starts), 2))], 1)
    near = np.repeat(labels, 2, 0) + rng.normal(0, 2, (2 * len(labels), 4))
    loose = rng.uniform(0, 350, (8, 2))
    found = np.concatenate([near, np.concatenate([loose, loose + rng.uniform(10, 50, (8, 2))], 1)])
    classes = rng.integers(0, CLASSES, len(labels))
    found_classes = np.concatenate([np.repeat(classes, 2), rng.integers(0, CLASSES, 8)])
    score = rng.permutation(np.arange(1, 1 + len(found))) / 100
    detections = np.concatenate([found, score[:, None], found_classes[:, None]], 1)
    rows = (
        np.concatenate([kinds[:, None], boxes], 1)
        for kinds, boxes in ((classes, labels), (rng.integers(0, CLASSES, len(crowds)), crowds))
    )
    best_first = torch.tensor(detections[np.argsort(-score)], dtype=torch.float64)
    return ImageResult("", (450, 450), best_first, *map(torch.tensor, rows))


def by_pycocotools(images: list[ImageResult]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (correct, ignored), each (n, 10), of the detections of each image."""
    truth, found = [], []
    for number, image in enumerate(images):
        for crowd, rows in enumerate((image.labels, image.ignored)):
            for c, x1, y1, x2, y2 in rows.tolist():
                row = {"image_id": number, "category_id": int(c), "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": crowd}
                truth.append(row | {"id": len(truth) + 1, "area": (x2 - x1) * (y2 - y1)})
        for x1, y1, x2, y2, confidence, c in image.detections.tolist():
            row = {"image_id": number, "category_id": int(c), "bbox": [x1, y1, x2 - x1, y2 - y1], "score": confidence}
            found.append(row)
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": number} for number in range(len(images))],
        "categories": [{"id": c} for c in range(CLASSES)],
        "annotations": truth,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(found), "bbox")
        judge.params.areaRng, judge.params.areaRngLbl = [[0, np.inf]], ["all"]
        judge.evaluate()
    first = np.cumsum([0] + [len(image.detections) for image in images])
    correct, ignored = np.zeros((2, len(found), 10), bool)
    for verdict in filter(None, judge.evalImgs):
        ids = np.array(verdict["dtIds"], int) - 1
        ignored[ids] = verdict["dtIgnore"].astype(bool).T
        correct[ids] = (verdict["dtMatches"] > 0).T & ~ignored[ids]
    return [(correct[a:b], ignored[a:b]) for a, b in itertools.pairwise(first)]


@pytest.mark.parametrize("seed", range(5))
def test_verdicts_are_those_of_pycocotools(seed):
    rng = np.random.default_rng(seed)
    images, levels = [image_of(rng) for _ in range(20)], iou_levels()
    counts = np.zeros(3, int)

    for image, (expected, expected_ignored) in zip(images, by_pycocotools(images), strict=True):
        correct = match_detections(image.detections, image.labels, levels)
        ignored = in_ignored(image.detections, correct, image.ignored, levels)

        np.testing.assert_array_equal(correct.numpy(), expected)
        np.testing.assert_array_equal(ignored.numpy(), expected_ignored)
        counts += [expected.sum(), expected_ignored.sum(), (~expected & ~expected_ignored).sum()]
    assert (counts > 20).all(), "nothing was compared"


def test_what_is_ignored_is_as_good_as_absent():
    rng = np.random.default_rng(0)
    correct, ignored = rng.random((2, 200, 10)) < 0.4
    correct &= ~ignored
    confidence, predicted, labelled = rng.random(200), rng.integers(0, 4, 200), rng.integers(0, 4, 60)
    ignored[predicted == 3] = True
    correct[predicted == 3] = False

    result = ap_per_class(correct, confidence, predicted, labelled, ignored)

    for level in range(10):
        kept = ~ignored[:, level]
        alone = ap_per_class(correct[kept], confidence[kept], predicted[kept], labelled)
        np.testing.assert_array_equal(result.ap[:, level], alone.ap[:, level])
    kept = ~ignored[:, 0]
    alone = ap_per_class(correct[kept], confidence[kept], predicted[kept], labelled)
    for curve in ("p_curve", "r_curve", "py"):
        np.testing.assert_array_equal(getattr(result, curve), getattr(alone, curve))


def test_the_confusion_matrix_does_not_count_what_lies_in_a_region_of_its_class():
    detections = torch.tensor([[10.0, 10, 20, 20, 0.9, 0], [10, 10, 20, 20, 0.9, 1], [70, 70, 80, 80, 0.9, 0]])
    matrix = ConfusionMatrix(2)

    matrix.update(detections, torch.zeros(0, 5), torch.tensor([[0.0, 0, 0, 50, 50]]))

    assert matrix.matrix.tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0]]


def test_cocos_figures_know_the_regions():
    detections = torch.tensor([[10.0, 10, 20, 20, 0.9, 0], [60, 60, 90, 90, 0.8, 0]])
    labels, crowd = torch.tensor([[0.0, 60, 60, 90, 90]]), torch.tensor([[0.0, 0, 0, 50, 50]])

    assert score([ImageResult("/a/1.jpg", (100, 100), detections, labels, crowd)], 2).all["AP50"] == pytest.approx(1)
    assert score([ImageResult("/a/1.jpg", (100, 100), detections, labels)], 2).all["AP50"] == pytest.approx(0.5)
