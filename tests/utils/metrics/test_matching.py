"""Matching and average precision equal the reference, and roughly those of COCO's own tool."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from matching_case import DETECTIONS, LABELS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from utils.boxes import box_iou, cxcywh_to_xyxy
from utils.metrics.average_precision import ap_per_class
from utils.metrics.matching import DetectionMetrics, fitness, iou_levels, match_detections

GOLDEN = Path(__file__).parents[2] / "golden"


def noisy_image(generator: torch.Generator, objects: int = 12, guesses: int = 60, classes: int = 3):
    """Labels ``(m, 5)`` and detections ``(n, 6)``, best first, that hit most of them, some twice, some wrongly."""
    boxes = torch.rand(objects, 4, generator=generator) * torch.tensor([500.0, 500, 100, 100]) + 20
    labels = torch.cat((torch.randint(classes, (objects, 1), generator=generator), cxcywh_to_xyxy(boxes)), dim=1)
    owner = torch.randint(objects, (guesses,), generator=generator)
    noise = torch.randn(guesses, 4, generator=generator) * 0.08 * boxes[owner, 2:].repeat(1, 2)
    wrong = torch.rand(guesses, generator=generator) < 0.2
    class_id = torch.where(wrong, torch.randint(classes, (guesses,), generator=generator), labels[owner, 0])
    confidence = torch.rand(guesses, generator=generator).sort(descending=True).values
    corners = cxcywh_to_xyxy(boxes[owner] + noise)
    return labels, torch.cat((corners, confidence[:, None], class_id[:, None]), dim=1)


def match_level_by_level(detections, labels, levels):
    """The rule of the reference, word by word, one IoU level after the other."""
    iou = box_iou(labels[:, 1:], detections[:, :4]).numpy()
    same_class = (labels[:, :1] == detections[:, 5]).numpy()
    correct = np.zeros((len(detections), len(levels)), bool)
    for i, level in enumerate(levels.numpy()):
        pairs = np.argwhere((iou >= level) & same_class)  # label, detection
        pairs = pairs[np.argsort(-iou[tuple(pairs.T)])]
        pairs = pairs[np.unique(pairs[:, 1], return_index=True)[1]]
        pairs = pairs[np.unique(pairs[:, 0], return_index=True)[1]]
        correct[pairs[:, 1], i] = True
    return correct


def judged(images) -> DetectionMetrics:
    metrics = DetectionMetrics()
    for labels, detections in images:
        correct = match_detections(detections, labels, iou_levels())
        metrics.update(correct, detections[:, 4], detections[:, 5], labels[:, 0])
    return metrics


def coco_map(images) -> tuple[float, float]:
    """Return mAP@0.5:0.95 and mAP@0.5 by pycocotools."""

    def entry(box, **facts):
        x, y, right, bottom = box.tolist()
        return {"bbox": [x, y, right - x, bottom - y], "area": (right - x) * (bottom - y), "iscrowd": 0, **facts}

    truth, found = [], []
    for image, (labels, detections) in enumerate(images):
        truth += [entry(row[1:], category_id=int(row[0]), image_id=image) for row in labels]
        found += [entry(row[:4], category_id=int(row[5]), image_id=image, score=float(row[4])) for row in detections]
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": i} for i in range(len(images))],
        "categories": [{"id": c} for c in {row["category_id"] for row in truth}],
        "annotations": [{"id": i + 1, **row} for i, row in enumerate(truth)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(found), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats[0], judge.stats[1]


def test_matches_of_the_reference():
    correct = match_detections(DETECTIONS, LABELS, iou_levels())

    assert correct.tolist() == [[row in (0, 2)] * 10 for row in range(7)]


def test_the_levels_are_those_of_coco():
    levels = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]

    assert iou_levels().tolist() == pytest.approx(levels, abs=1e-6)


def test_an_overlap_of_exactly_a_level_is_enough():
    half, all_of_it = [0.0, 0, 10, 5], [0.0, 0, 10, 10]

    correct = match_detections(torch.tensor([[*half, 0.9, 0]]), torch.tensor([[0, *all_of_it]]), iou_levels())

    assert correct.tolist() == [[True] + [False] * 9]


@pytest.mark.parametrize("seed", range(20))
def test_all_levels_at_once_equal_level_by_level(seed):
    labels, detections = noisy_image(torch.Generator().manual_seed(seed), objects=15, guesses=200)

    correct = match_detections(detections, labels, iou_levels())

    np.testing.assert_array_equal(correct, match_level_by_level(detections, labels, iou_levels()))
    assert correct[:, 0].sum() > correct[:, 9].sum()


@pytest.mark.parametrize(("n", "m"), [(0, 3), (3, 0), (0, 0)])
def test_an_image_without_detections_or_labels_has_no_matches(n, m):
    correct = match_detections(torch.ones(n, 6), torch.ones(m, 5), iou_levels())

    assert correct.shape == (n, 10)
    assert not correct.any()


def test_metrics_equal_the_golden_figures():
    golden = np.load(GOLDEN / "ap_a.npz")

    result = ap_per_class(golden["tp"], golden["conf"], golden["pred_cls"], golden["target_cls"])

    np.testing.assert_array_equal(result.class_ids, golden["classes"])
    for ours, theirs in (("ap", "ap"), ("p", "p"), ("r", "r"), ("f1", "f1")):
        np.testing.assert_allclose(getattr(result, ours), golden[theirs], atol=1e-6)


def test_metrics_of_a_formula_of_the_reference():
    i = np.arange(200)
    confidence = 0.5 + 0.5 * np.sin(1.1 * i)
    correct = (np.sin(0.77 * i) + confidence - 0.5)[:, None] > -0.2 + 0.12 * np.arange(10)
    labelled = np.repeat([0, 1, 2, 5], [30, 25, 40, 10])

    result = ap_per_class(correct, confidence, i % 4, labelled)

    np.testing.assert_array_equal(result.class_ids, [0, 1, 2, 5])
    np.testing.assert_array_equal(result.labels_per_class, [30, 25, 40, 10])
    np.testing.assert_allclose(result.p, [0.56, 0.58, 0.58, 0], atol=1e-6)
    np.testing.assert_allclose(result.r, [0.933333, 1.16, 0.725, 0], atol=1e-6)
    np.testing.assert_allclose(result.f1, [0.7, 0.773333, 0.644444, 0], atol=1e-6)
    np.testing.assert_allclose(result.ap50, [0.702897, 0.828857, 0.62783, 0], atol=1e-6)
    np.testing.assert_allclose(result.ap.mean(axis=1), [0.453362, 0.505252, 0.371338, 0], atol=1e-6)


def test_means_and_maps_by_hand():
    # Class 1: both labels found at all levels. Class 4: one label, never predicted.
    result = ap_per_class(np.ones((2, 10), bool), np.array([0.9, 0.8]), np.array([1, 1]), np.array([1, 1, 4]))

    assert result.ap50.tolist() == pytest.approx([0.995, 0])  # the last of 100 strips falls from 1 to 0 at recall 1
    assert (result.precision, result.recall) == pytest.approx((0.5, 0.5))
    assert result.map50 == pytest.approx(0.4975)
    assert result.map == pytest.approx(0.4975)
    assert result.maps(6).tolist() == pytest.approx([0.4975, 0.995, 0.4975, 0.4975, 0, 0.4975])
    assert fitness(result) == pytest.approx(0.4975)


def test_curves_by_hand():
    # Of two labels the more confident detection finds one; the other detection is wrong.
    correct = np.array([[True] * 10, [False] * 10])

    result = ap_per_class(correct, np.array([0.75, 0.25]), np.array([0, 0]), np.array([0, 0]))

    at = [round(999 * x) for x in (0.1, 0.25, 0.5, 0.75, 0.9)]
    np.testing.assert_allclose(result.p_curve[0, at], [0.5, 0.5, 0.75, 1, 1], atol=2e-3)
    np.testing.assert_allclose(result.r_curve[0, at], [0.5, 0.5, 0.5, 0.5, 0], atol=2e-3)
    np.testing.assert_allclose(result.f1_curve[0, at], [0.5, 0.5, 0.6, 2 / 3, 0], atol=2e-3)
    np.testing.assert_allclose(result.py[0, [0, 250, 499]], [1, 1, 1], atol=2e-3)
    assert result.py[0, 750] == pytest.approx(0.25, abs=2e-3)  # between 0.5 at recall 0.5 and 0 at recall 1


def test_above_the_highest_confidence_precision_is_one_and_recall_zero():
    result = ap_per_class(np.zeros((1, 10), bool), np.array([0.5]), np.array([0]), np.array([0]))

    np.testing.assert_array_equal(result.p_curve[0, [499, 500]], [0, 1])
    np.testing.assert_array_equal(result.r_curve[0, [499, 500]], [0, 0])


def test_images_add_up_in_any_order():
    images = [noisy_image(torch.Generator().manual_seed(seed)) for seed in range(6)]

    forwards, backwards = judged(images).compute(), judged(images[::-1]).compute()

    np.testing.assert_allclose(forwards.ap, backwards.ap)
    np.testing.assert_array_equal(forwards.labels_per_class, backwards.labels_per_class)
    assert forwards.labels_per_class.sum() == 6 * 12


@pytest.mark.parametrize(("detections", "labels"), [(0, 0), (5, 0), (0, 5)])
def test_without_detections_or_labels_every_metric_is_zero(detections, labels):
    metrics = DetectionMetrics()
    if detections or labels:
        metrics.update(
            torch.zeros(detections, 10, dtype=torch.bool),
            torch.rand(detections),
            torch.zeros(detections),
            torch.zeros(labels),
        )

    result = metrics.compute()

    assert (result.precision, result.recall, result.map50, result.map, fitness(result)) == (0, 0, 0, 0, 0)
    assert result.labels_per_class.sum() == labels
    assert result.maps(3).tolist() == [0, 0, 0]
    assert result.f1_curve.shape == (len(result.class_ids), 1000)


def test_average_precision_is_close_to_that_of_pycocotools():
    images = [noisy_image(torch.Generator().manual_seed(seed)) for seed in range(30)]

    result = judged(images).compute()

    theirs_map, theirs_map50 = coco_map(images)
    assert 0.2 < theirs_map < 0.8
    assert result.map == pytest.approx(theirs_map, abs=0.01)
    assert result.map50 == pytest.approx(theirs_map50, abs=0.01)


def test_the_best_threshold_of_a_class_is_that_of_its_highest_f1():
    """Two cats found at 0.8 and 0.6 and a false one at 0.3; of dogs, nothing."""
    correct = np.array([[True] * 10, [True] * 10, [False] * 10])
    metrics = ap_per_class(correct, np.array([0.8, 0.6, 0.3]), np.zeros(3), np.array([0, 0, 1]))

    assert metrics.best_f1[0] == pytest.approx(1, abs=1e-3)
    assert metrics.best_confidence[0] == pytest.approx(0.6, abs=1e-3)
    assert metrics.best_f1[1] == 0
    assert np.isnan(metrics.best_confidence[1])
    assert np.isnan(ap_per_class(np.zeros((0, 10), bool), *np.zeros((3, 0))).confidence)


def test_no_best_threshold_is_below_all_confidences():
    """With --conf-thres 0.5 all thresholds up to that of the last detection are alike; what 0 would add, nobody saw."""
    correct = np.array([[True] * 10, [False] * 10, [True] * 10, [True] * 10])
    metrics = ap_per_class(correct, np.array([0.9, 0.8, 0.6, 0.7]), np.array([0, 0, 0, 1]), np.array([0, 0, 1]))

    assert metrics.best_confidence == pytest.approx([0.6, 0.7], abs=2e-3)
    assert metrics.confidence == pytest.approx(0.6, abs=2e-3)
    assert metrics.f1 == pytest.approx([0.8, 1.0], abs=1e-3), "they hold there"
