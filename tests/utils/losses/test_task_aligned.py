"""The task-aligned assignment equals the reference and the figures worked out on paper."""

import numpy as np
import pytest
import torch
from anchor_free_case import FOLDER, STRIDES, decode, golden_case

from utils.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from utils.losses.task_aligned import Assignment, assign_points

GRID = [(4, 4, 8.0)]  # 32×32 pixels
RULES = [("", 16.0), ("classic_", 0.0)]  # prefix of the golden figures, least side


def positives(found: Assignment) -> dict[tuple[int, int], tuple[int, float]]:
    """Return (image, point) → (target, score) of the rows that count."""
    rows = zip(*(getattr(found, name).tolist() for name in ("image", "point", "target", "score")), strict=True)
    counted = [((image, point), (target, score)) for image, point, target, score in rows if score > 0]
    assert len(dict(counted)) == len(counted), "a point in two rows"
    return dict(counted)


def boxes_about_points(side: float) -> torch.Tensor:
    """Return predictions ``(1, 16, 4)`` cxcywh of that side about the points of ``GRID``."""
    y, x = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    centre = torch.stack((x, y), dim=2).view(1, 16, 2) * 8.0 + 4
    return torch.cat((centre, torch.full_like(centre, side)), dim=2)


def target(*corners: float, class_id: int = 0, image: int = 0) -> list[float]:
    """Return a target with corners in pixels of ``GRID``."""
    x1, y1, x2, y2 = (corner / 32 for corner in corners)
    return [image, class_id, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]


@pytest.fixture
def paper():
    """The example of the specification: predictions, and targets A and B of image 0 and a tiny one of image 1."""
    with np.load(FOLDER / "tal_small.npz") as file:
        figures = dict(file)
    boxes = xyxy_to_cxcywh(torch.from_numpy(figures["pd_boxes"]))
    logits = torch.from_numpy(figures["pd_scores"]).logit()
    rows = zip(*np.nonzero(figures["mask"]), strict=True)
    targets = [target(*figures["gt_boxes"][i], class_id=figures["gt_labels"][i], image=i[0]) for i in rows]
    return figures, boxes, logits, torch.tensor(np.array(targets, dtype=np.float32))


@pytest.mark.parametrize(("prefix", "least_side"), [("", 8.0), ("classic_", 0.0)])
def test_the_example_on_paper_equals_its_golden_figures(paper, prefix, least_side):
    figures, boxes, logits, targets = paper

    found = assign_points(boxes, logits, targets, GRID, least_side, top_k=3)

    scores = np.zeros((2, 16, 2), dtype=np.float32)
    np.add.at(scores, (found.image, found.point, found.class_id), found.score.numpy())
    np.testing.assert_allclose(scores, figures[f"{prefix}scores"], atol=1e-6)
    want = figures[f"{prefix}fg"] & figures[f"{prefix}scores"].any(axis=2)
    of_image = targets[:, 0].tolist().index(1.0)  # rows of earlier images
    got = {place: row - place[0] * of_image for place, (row, _) in positives(found).items()}
    assert got == {(i, p): figures[f"{prefix}gt"][i, p] for i, p in zip(*want.nonzero(), strict=True)}


def test_the_example_on_paper_has_the_scores_worked_out_by_hand(paper):
    _, boxes, logits, targets = paper

    found = positives(assign_points(boxes, logits, targets, GRID, least_side=8.0, top_k=3))

    a, b, tiny = range(3)
    assert found == {
        (0, 1): (a, pytest.approx(0.5 / 0.6, abs=1e-6)),
        (0, 5): (a, pytest.approx(1, abs=1e-6)),
        (0, 6): (b, pytest.approx(0.0163464 / 0.7, abs=1e-6)),  # A chose it too and gets no other
        (0, 10): (b, pytest.approx(1, abs=1e-6)),
        (0, 14): (b, pytest.approx(0.3 / 0.7, abs=1e-6)),
        (1, 5): (tiny, pytest.approx(0.25, abs=2e-6)),  # less 1e-9 / T
    }


@pytest.mark.parametrize(("prefix", "least_side"), RULES)
@pytest.mark.parametrize("name", ["loss_v8_a", "loss_v8_b"])
def test_positives_and_scores_equal_the_golden_figures(name, prefix, least_side):
    figures, maps = golden_case(name)
    boxes, logits = decode(maps, STRIDES, reg_max=16)
    levels = [(*m.shape[2:], stride) for m, stride in zip(maps, STRIDES, strict=True)]

    found = assign_points(xyxy_to_cxcywh(boxes), logits, torch.from_numpy(figures["targets"]), levels, least_side)

    places = [tuple(place) for place in figures[f"{prefix}fg"].tolist()]
    got = positives(found)
    assert {place: row for place, (row, _) in got.items()} == dict(
        zip(places, figures[f"{prefix}target"].tolist(), strict=True)
    )
    # the golden figures themselves are up to 2.2e-6 away from a calculation in double precision
    np.testing.assert_allclose([got[place][1] for place in places], figures[f"{prefix}score"], atol=5e-6)
    np.testing.assert_allclose(found.score.sum(), figures[f"{prefix}score_sum"], rtol=1e-5)
    counts = found.score > 0
    index = list(zip(found.image[counts].tolist(), found.point[counts].tolist(), strict=True))
    corners = cxcywh_to_xyxy(found.box[counts])[[index.index(place) for place in places]]
    np.testing.assert_allclose(corners, figures[f"{prefix}boxes"], atol=1e-4)


def test_without_targets_nothing_is_chosen():
    found = assign_points(boxes_about_points(8.0), torch.zeros(1, 16, 2), torch.zeros(0, 6), GRID, least_side=8.0)

    assert all(len(value) == 0 for value in vars(found).values())


def test_a_point_on_the_side_of_a_box_is_no_candidate():
    targets = torch.tensor([target(4, 4, 20, 20)])  # points 0, 1, 2, 4, 6, 8, 9, 10 lie on its sides

    found = assign_points(boxes_about_points(8.0), torch.zeros(1, 16, 1), targets, GRID, least_side=0.0)

    assert set(positives(found)) == {(0, 5)}


def test_a_point_just_inside_a_box_is_a_candidate():
    targets = torch.tensor([target(11.9995, 11.9995, 20.0005, 20.0005)])  # points 5, 6, 9, 10 lie in its corners

    found = assign_points(boxes_about_points(16.0), torch.zeros(1, 16, 1), targets, GRID, least_side=0.0)

    assert set(positives(found)) == {(0, 5), (0, 6), (0, 9), (0, 10)}


def test_only_the_shorter_side_of_a_box_is_enlarged():
    targets = torch.tensor([target(1, 13, 31, 15)])  # flat, between two rows of points

    flat, enlarged = (
        positives(assign_points(boxes_about_points(12.0), torch.zeros(1, 16, 1), targets, GRID, least_side))
        for least_side in (0.0, 8.0)
    )

    assert not flat
    assert {point for _, point in enlarged} <= {4, 5, 6, 7}
    assert enlarged


def test_of_equal_targets_the_first_gets_the_points():
    targets = torch.tensor([target(4.5, 4.5, 27, 27, class_id=c) for c in (1, 0)])
    logits = torch.tensor([-2.0, 2.0]).expand(1, 16, 2)

    found = positives(assign_points(boxes_about_points(16.0), logits, targets, GRID, least_side=8.0))

    assert {row for row, _ in found.values()} == {0}


def test_targets_need_no_order():
    generator = torch.Generator().manual_seed(0)
    targets = torch.rand(24, 6, generator=generator) * torch.tensor([3, 2, 1, 1, 1, 1])
    targets[:, :2].floor_()
    boxes = boxes_about_points(12.0).expand(3, 16, 4)
    logits = torch.randn(3, 16, 2, generator=generator)
    order = targets[:, 0].argsort(stable=True)

    mixed, ordered = (positives(assign_points(boxes, logits, t, GRID, 8.0)) for t in (targets, targets[order]))

    assert mixed == {place: (int(order[row]), pytest.approx(score)) for place, (row, score) in ordered.items()}


@pytest.mark.parametrize(
    "corners",
    [(12, 12, 12, 12), (0, 0, 0, 0), (32, 32, 32, 32), (40, 40, 50, 50), (12, 20, 12, 4), (float("nan"),) * 4],
)
def test_a_box_without_area_or_outside_the_image_gets_no_score(corners):
    found = assign_points(boxes_about_points(8.0), torch.zeros(1, 16, 1), torch.tensor([target(*corners)]), GRID, 8.0)

    assert not positives(found)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_predictions_that_are_not_finite_get_no_score_and_harm_no_other(value):
    boxes, logits = torch.tensor([17.5, 17.5, 25, 25]).repeat(1, 16, 1), torch.zeros(1, 16, 1)
    boxes[0, 5] = value
    logits[0, 6] = float("nan")

    found = positives(assign_points(boxes, logits, torch.tensor([target(5, 5, 30, 30)]), GRID, 8.0))

    one = (0, pytest.approx(1, abs=1e-6))
    assert found == {(0, point): one for point in (7, 9, 10, 11, 13, 14, 15)}
