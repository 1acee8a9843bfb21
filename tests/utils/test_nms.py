"""Suppression in growing prefixes keeps the rows that ranking every candidate would keep."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import nms

from utils.boxes import cxcywh_to_xyxy
from utils.errors import ConfigError
from utils.nms import BLOCK, MAX_CANDIDATES, non_max_suppression
from utils.predictions import B4CN, BN5C, Predictions
from utils.runs import ROOT

GOLDEN = Path(__file__).parents[1] / "golden"


def suppressed(rows, *args, **options):
    """Suppress predictions of YOLOv5's layout (B, N, 5 + nc)."""
    return non_max_suppression(Predictions(rows, BN5C), *args, **options)


def crowded_predictions(boxes: int, nc: int, objects: int, score_steps: int | None = None) -> torch.Tensor:
    """Boxes that crowd around few objects, so that many candidates leave few survivors; equal scores on demand."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(objects, 2, generator=generator) * 640
    owner = torch.randint(objects, (boxes,), generator=generator)
    centre = centres[owner] + torch.randn(boxes, 2, generator=generator) * 4
    size = 60 + torch.randn(boxes, 2, generator=generator) * 3
    scores = torch.rand(boxes, 1 + nc, generator=generator) * 0.9 + 0.1
    if score_steps:
        scores = (scores * score_steps).ceil() / score_steps
    return torch.cat((centre, size, scores), dim=1)[None]


def rank_everything(image, conf_thres, iou_thres, agnostic=False, max_det=300):
    """The multi-label rule as it is written: every candidate at once, suppressed class by class."""
    confidence = image[:, 5:] * image[:, 4:5]
    box, class_id = ((confidence > conf_thres) & (image[:, 4:5] > conf_thres)).nonzero(as_tuple=True)
    xyxy = cxcywh_to_xyxy(image[:, :4])[box]
    rows = torch.cat((xyxy, confidence[box, class_id, None], class_id[:, None]), dim=1)
    rows = rows[rows[:, 4].argsort(descending=True, stable=True)[:MAX_CANDIDATES]]
    return rows[class_by_class(rows, iou_thres, agnostic)][:max_det]


def class_by_class(rows, iou_thres, agnostic=False):
    """Positions of the survivors: torchvision's kernel on the boxes of each class as they are."""
    classes = torch.zeros_like(rows[:, 5]) if agnostic else rows[:, 5]
    members = [(classes == c).nonzero()[:, 0] for c in classes.unique()]
    return torch.cat([own[nms(rows[own, :4], rows[own, 4], iou_thres)] for own in members]).sort().values


def one_class_each(boxes, classes, nc, confidence):
    """Predictions (1, n, 5 + nc) of boxes (n, 4) cxcywh that are each sure of one class."""
    predictions = torch.zeros(1, len(boxes), 5 + nc)
    predictions[0, :, :4], predictions[0, :, 4] = boxes, 1
    predictions[0, torch.arange(len(boxes)), 5 + classes] = confidence
    return predictions


def decisions_that_differ(side, size, classes, nc, seed):
    """(decisions that are not those of the kernel class by class, decisions) for crowded boxes of about one size."""
    generator = torch.Generator().manual_seed(seed)
    count = 2 * len(classes)
    centres = torch.rand(count // 8, 2, generator=generator)[torch.randint(count // 8, (count,), generator=generator)]
    centres = centres * side + torch.randn(count, 2, generator=generator) * size / 4
    boxes = torch.cat((centres, size * (0.8 + 0.4 * torch.rand(count, 2, generator=generator))), dim=1)
    owners = classes[torch.randint(len(classes), (count,), generator=generator)]
    confidence = torch.linspace(0.9, 0.3, count)

    (rows,) = suppressed(one_class_each(boxes, owners, nc, confidence), 0.25, 0.6, max_det=count)

    ranked = torch.cat((cxcywh_to_xyxy(boxes), confidence[:, None], owners[:, None].float()), dim=1)
    expected = ranked[class_by_class(ranked, 0.6)]
    return len(set(map(tuple, rows.tolist())) ^ set(map(tuple, expected.tolist()))), count


@pytest.mark.parametrize("name", ["detect", "val", "agnostic"])
def test_rows_equal_the_golden_figures(name):
    golden = np.load(GOLDEN / f"nms_{name}.npz")

    detections = suppressed(torch.from_numpy(golden["prediction"]), **json.loads(str(golden["kwargs"])))

    for image, rows in enumerate(detections):
        np.testing.assert_array_equal(rows, golden[f"out{image}"])


@pytest.mark.parametrize(
    ("options", "count", "total"),
    [
        ({}, 26, 11131.897),
        ({"multi_label": True}, 39, 16165.508),
        ({"agnostic": True}, 22, 9092.0863),
        ({"classes": [0, 2], "max_det": 3}, 3, 1335.8484),
    ],
)
def test_a_formula_of_the_reference(options, count, total):
    k, c = np.arange(40)[:, None], np.arange(3)
    columns = (
        100 + 60 * np.sin(0.9 * k),
        100 + 60 * np.cos(1.3 * k),
        60 + 20 * np.sin(2.1 * k),
        60 + 20 * np.cos(0.7 * k),
        0.5 + 0.5 * np.sin(1.7 * k),
        0.5 + 0.5 * np.sin(0.5 * k + 2 * c),
    )
    predictions = torch.from_numpy(np.concatenate(columns, axis=1)).float()[None]

    (rows,) = suppressed(predictions, 0.25, 0.45, **options)

    assert len(rows) == count
    assert rows.double().sum().item() == pytest.approx(total, rel=1e-6)
    if not options:
        np.testing.assert_allclose(rows[0], [10.4717, 15.5422, 71.8159, 65.1565, 0.9946, 1], atol=1e-4)


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize(
    ("boxes", "nc", "objects", "score_steps"),
    [
        (50, 3, 20, None),  # a single block
        (9000, 3, 12, None),  # never reaches max_det: all prefixes are used
        (9000, 4, 12, None),  # more candidates than the limit
        (9000, 3, 12, 5),  # nearly all confidences occur many times
        (4 * BLOCK, 3, 3000, None),  # reaches max_det within the first prefix
    ],
)
def test_prefixes_keep_the_rows_of_a_full_ranking(boxes, nc, objects, score_steps, agnostic):
    predictions = crowded_predictions(boxes, nc, objects, score_steps)

    (rows,) = suppressed(predictions, 0.001, 0.6, agnostic=agnostic, multi_label=True)

    assert torch.equal(rows, rank_everything(predictions[0], 0.001, 0.6, agnostic))


@pytest.mark.parametrize("nc", [1, 80, 1203, 10_000])
@pytest.mark.parametrize(("side", "size"), [(640, 12.0), (20_000, 32.0)])
def test_decisions_depend_neither_on_class_id_nor_on_image_size(nc, side, size):
    for used in (3, 300):  # more boxes in each class than are compared pair by pair, and fewer
        classes = torch.arange(nc)[-used:]
        classes = classes.repeat_interleave(300 // len(classes))

        assert decisions_that_differ(side, size, classes, nc, seed=nc)[0] == 0


@pytest.mark.slow
def test_no_decision_in_a_hundred_thousand_differs():
    differing = total = 0
    for seed in range(40):
        for side in (320, 1280, 20_000):
            for size in (3.0, 12.0, 50.0, 400.0):
                classes = torch.randint(10_000, (500,), generator=torch.Generator().manual_seed(seed))
                classes = classes if seed % 2 else classes[:12].repeat_interleave(40)
                wrong, count = decisions_that_differ(side, size, classes, 10_000, seed)
                differing, total = differing + wrong, total + count

    assert total > 100_000
    assert differing == 0


@pytest.mark.parametrize("class_id", [0, 79, 1202, 9_999])
def test_an_overlap_at_the_threshold_is_decided_as_by_the_kernel(class_id):
    # overlaps of exactly 3/5, which float32 rounds up and float64 does not: boxes of 8 × 8 shifted by 2
    boxes = torch.tensor([[4.0, 4.0, 8.0, 8.0], [6.0, 4.0, 8.0, 8.0], [400.0, 4.0, 8.0, 8.0]])
    classes = torch.full((3,), class_id)
    predictions = one_class_each(boxes, classes, 10_000, torch.tensor([0.9, 0.8, 0.7]))
    kernel = nms(cxcywh_to_xyxy(boxes), torch.tensor([0.9, 0.8, 0.7]), 0.6)

    (rows,) = suppressed(predictions, 0.25, 0.6)

    assert rows[:, 4].tolist() == torch.tensor([0.9, 0.8, 0.7])[kernel].tolist()


@pytest.mark.parametrize("iou_thres", [0.0, 1.0])
def test_the_ends_of_the_range_of_the_overlap(iou_thres):
    predictions = crowded_predictions(400, 20, 30)

    (rows,) = suppressed(predictions, 0.3, iou_thres, multi_label=True)

    assert torch.equal(rows, rank_everything(predictions[0], 0.3, iou_thres))


def test_at_most_thirty_thousand_candidates_count():
    boxes, classes = 11, 3000
    predictions = torch.full((1, boxes, 5 + classes), 0.9)
    predictions[0, :, :4] = torch.tensor([0.0, 50, 20, 20])
    predictions[0, :, 0] = 100 * torch.arange(boxes)

    (rows,) = suppressed(predictions, multi_label=True, max_det=40_000)

    assert len(rows) == 30_000


def test_by_default_the_best_300_of_more_than_a_quarter_confidence_are_kept():
    boxes = torch.tensor([0.0, 50, 20, 20]).repeat(310, 1)
    boxes[:, 0] = 100 * torch.arange(310)
    predictions = one_class_each(boxes, torch.zeros(310, dtype=torch.long), 1, torch.linspace(0.9, 0.3, 310))

    (rows,) = suppressed(predictions)
    (few,) = suppressed(one_class_each(boxes[:3], torch.zeros(3, dtype=torch.long), 1, torch.tensor([0.9, 0.26, 0.25])))

    assert len(rows) == 300
    assert rows[-1, 4] > 0.3
    assert len(few) == 2


@pytest.mark.parametrize(("layout", "overlap"), [(BN5C, 0.45), (B4CN, 0.7)], ids=["yolov5", "yolov8"])
def test_the_overlap_that_suppresses_by_default_is_that_of_the_family(layout, overlap):
    heights = [100, 100 * (overlap - 0.01), 100 * (overlap + 0.01)]  # and overlaps with the first, centres alike
    rows = torch.tensor([[50, 50, 100, height, *[1.0] * layout.has_objectness, 0.9] for height in heights])
    rows[:, -1] -= 0.1 * torch.arange(3)

    for second, count in ((1, 2), (2, 1)):
        output = rows[[0, second]][None]
        (found,) = non_max_suppression(Predictions(output if layout is BN5C else output.mT, layout))
        assert len(found) == count


def test_one_label_per_box_is_the_best_class():
    predictions = crowded_predictions(300, 4, 40)
    only_best = predictions.clone()
    only_best[..., 5:] *= predictions[..., 5:] == predictions[..., 5:].amax(dim=-1, keepdim=True)

    (rows,) = suppressed(predictions, 0.2, 0.5)

    assert torch.equal(rows, rank_everything(only_best[0], 0.2, 0.5))


def test_a_box_whose_best_class_is_not_wanted_is_dropped():
    predictions = torch.tensor([[[50.0, 50, 20, 20, 1, 0.9, 0.8], [200, 50, 20, 20, 1, 0.3, 0.7]]])

    (rows,) = suppressed(predictions, classes=[1])
    (labels,) = suppressed(predictions, classes=[1], multi_label=True)

    assert rows[:, 4:].tolist() == [[pytest.approx(0.7), 1]]
    assert labels[:, 4:].tolist() == [[pytest.approx(0.8), 1], [pytest.approx(0.7), 1]]


def test_thresholds_are_exceeded_not_reached():
    predictions = torch.tensor([[[50.0, 50, 20, 20, 0.5, 1.0], [200, 50, 20, 20, 1.0, 0.5], [90, 90, 9, 9, 1.0, 0.75]]])

    (rows,) = suppressed(predictions, conf_thres=0.5)

    assert rows[:, 4].tolist() == [0.75]


def test_every_image_of_a_batch_is_answered():
    crowd = crowded_predictions(2000, 2, 100)
    nothing = torch.zeros_like(crowd)

    first, second, third = suppressed(torch.cat((crowd, nothing, crowd)), 0.001, multi_label=True)

    assert len(first) > 0
    assert torch.equal(first, third)
    assert second.shape == (0, 6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_predictions_are_judged_in_float32(dtype):
    predictions = crowded_predictions(500, 3, 30).to(dtype)

    (rows,) = suppressed(predictions, 0.1, multi_label=True)

    assert rows.dtype == torch.float32
    assert torch.equal(rows, rank_everything(predictions[0].float(), 0.1, 0.45))


def test_no_boxes_at_all_give_no_detections():
    (rows,) = suppressed(torch.zeros(1, 0, 8))

    assert rows.shape == (0, 6)


@pytest.mark.parametrize("option", ["conf_thres", "iou_thres"])
def test_a_threshold_outside_its_range_is_refused(option):
    with pytest.raises(ConfigError, match=rf"{option} is 1\.5"):
        suppressed(torch.zeros(1, 1, 6), **{option: 1.5})


KERNEL = """
import importlib.util, sys
import torch
find = importlib.util.find_spec
hidden = sys.argv[1:]  # packages that find_spec does not see
importlib.util.find_spec = lambda name, package=None: None if name in hidden else find(name, package)
from utils.nms import nms
importlib.util.find_spec = find
early = "torchvision" in sys.modules

from torchvision.ops import nms as theirs
boxes, scores = torch.rand(300, 5, generator=torch.Generator().manual_seed(0)).split((4, 1), dim=1)
boxes, scores = torch.cat((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), dim=1), scores[:, 0]
print(early, torch.equal(nms(boxes, scores, 0.45), theirs(boxes, scores, 0.45)))
"""


@pytest.mark.parametrize(
    ("hidden", "early"),
    [
        pytest.param([], "False", id="library"),
        pytest.param(["torchvision"], "True", id="package", marks=pytest.mark.slow),
    ],
)
def test_the_kernel_is_torchvisions_and_the_package_is_imported_only_where_its_library_is_not_found(hidden, early):
    result = subprocess.run([sys.executable, "-c", KERNEL, *hidden], cwd=ROOT, capture_output=True, text=True)

    assert result.stdout.split() == [early, "True"], result.stderr


@pytest.mark.parametrize("name", ["val", "detect", "agnostic", "few"])
def test_rows_without_objectness_equal_the_golden_figures(name, monkeypatch):
    golden = np.load(GOLDEN / "v8" / "nms_v8.npz")
    settings = json.loads(str(golden["settings"]))[name]
    monkeypatch.setattr("utils.nms.MAX_CANDIDATES", settings.pop("max_nms", MAX_CANDIDATES))

    found = non_max_suppression(Predictions(torch.from_numpy(golden["prediction"]), B4CN), **settings)

    for image, rows in enumerate(found):
        np.testing.assert_allclose(rows, golden[f"{name}_out{image}"], rtol=0, atol=1e-4)
