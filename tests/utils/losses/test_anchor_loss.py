"""The detection loss and its assignment equal the reference, in value, order and gradient."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from models.heads.detect import Detect
from utils.errors import ConfigError
from utils.losses import find_loss
from utils.losses.anchor_loss import DetectionLoss, LossGains
from utils.losses.assignment import assign_targets
from utils.runs import ROOT
from utils.training.hyp import load_hyp

GOLDEN = Path(__file__).parents[2] / "golden"
ANCHORS_PX = torch.tensor(
    [
        [[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]],
        [[30.0, 61.0], [62.0, 45.0], [59.0, 119.0]],
        [[116.0, 90.0], [156.0, 198.0], [373.0, 326.0]],
    ]
)
ANCHORS = ANCHORS_PX / torch.tensor([8.0, 16.0, 32.0])[:, None, None]
LOW = LossGains(box=0.05, obj=1.0, cls=0.5)  # the gains of hyp.scratch-low.yaml, as they stand in the file
HIGH = LossGains(box=0.05, obj=0.7, cls=0.3, label_smoothing=0.1)
VOC = LossGains(box=0.02, obj=0.51728, cls=0.21638, obj_pw=0.67198, cls_pw=0.5, anchor_t=3.3744, label_smoothing=0.05)
FOCAL = LossGains(box=0.05, obj=0.7, cls=0.3, fl_gamma=1.5, label_smoothing=0.1)
FORMULA_TARGETS = torch.tensor(
    [
        [0, 3, 0.51, 0.49, 0.30, 0.40],
        [0, 17, 0.10, 0.90, 0.05, 0.08],
        [1, 3, 0.75, 0.25, 0.60, 0.20],
        [1, 79, 0.999, 0.001, 0.02, 0.02],
        [1, 0, 0.333, 0.667, 0.9, 0.95],
    ]
)
FORMULA_GRIDS = [(12, 16), (6, 8), (3, 4)]


def formula_maps() -> list[torch.Tensor]:
    """Maps of 80 classes by a formula of the specification."""
    shapes = [(2, 3, rows, columns, 85) for rows, columns in FORMULA_GRIDS]
    return [
        torch.from_numpy(2 * np.sin(0.37 * np.arange(math.prod(shape)) + level)).float().view(shape)
        for level, shape in enumerate(shapes)
    ]


def small_maps(levels: int, nc: int, batch: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, 2, 16 >> i, 24 >> i, 5 + nc, generator=generator) for i in range(levels)]


def small_targets(count: int, nc: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    targets = torch.rand(count, 6, generator=generator)
    targets[:, :2] = (targets[:, :2] * torch.tensor([2, nc])).floor()
    return targets


@pytest.fixture(
    params=[("hyp.scratch-low_nc80_ls0.0", LOW), ("hyp.scratch-high_nc6_ls0.1", HIGH)], ids=lambda param: param[0]
)
def golden(request):
    """Golden figures, the maps that they belong to, and the gains."""
    name, gains = request.param
    figures = np.load(GOLDEN / f"loss_yolov5n_{name}.npz")
    generator = np.random.Generator(np.random.PCG64(int(figures["seed"])))
    height, width = figures["size"]
    maps = [
        torch.from_numpy(generator.normal(0, 1, (2, 3, height // s, width // s, 5 + figures["nc"])).astype(np.float32))
        for s in (8, 16, 32)
    ]
    return figures, maps, gains


def test_total_terms_and_gradients_equal_the_golden_figures(golden):
    figures, maps, gains = golden
    maps = [m.requires_grad_() for m in maps]

    total, terms = DetectionLoss(ANCHORS, int(figures["nc"]), gains)(maps, torch.from_numpy(figures["targets"]))
    total.backward()

    np.testing.assert_allclose(total.item(), figures["loss"][0], rtol=1e-5)
    np.testing.assert_allclose(terms, figures["items"], rtol=1e-5)
    gradients = [m.grad.double().abs().sum().item() for m in maps]
    np.testing.assert_allclose(gradients, figures["grad_abs_sum"], rtol=1e-5)


def test_assignments_and_their_order_equal_the_golden_figures(golden):
    figures, maps, gains = golden
    grids = [m.shape[2:4] for m in maps]

    matches = assign_targets(torch.from_numpy(figures["targets"]), ANCHORS, grids, gains.anchor_t)

    assert matches.per_level == figures["n_assigned"].tolist()
    columns = (matches.image, matches.anchor, matches.row, matches.column)
    for level, cells in enumerate(torch.stack(columns).split(matches.per_level, dim=1)):
        np.testing.assert_array_equal(cells, figures[f"ind{level}"])
        np.testing.assert_array_equal(matches.class_id.split(matches.per_level)[level], figures[f"tcls{level}"])
        np.testing.assert_allclose(matches.box.split(matches.per_level)[level], figures[f"tbox{level}"], atol=1e-6)


@pytest.mark.parametrize(
    ("gains", "per_level", "terms", "total"),
    [
        (LOW, [23, 24, 12], (0.1430563, 4.5977855, 1.4059299), 12.293544),
        (FOCAL, [23, 24, 12], (0.1430563, 1.4900305, 0.3539817), 3.974137),
        (VOC, [14, 21, 9], (0.0585877, 2.38221, 0.6006907), 6.082976),
    ],
)
def test_a_formula_of_the_reference(gains, per_level, terms, total):
    loss, items = DetectionLoss(ANCHORS, 80, gains)(formula_maps(), FORMULA_TARGETS)

    assert assign_targets(FORMULA_TARGETS, ANCHORS, FORMULA_GRIDS, gains.anchor_t).per_level == per_level
    np.testing.assert_allclose(items, terms, rtol=1e-6)
    np.testing.assert_allclose(loss, total, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "others", "expected"),
    [
        ("scratch-low", {}, LOW),
        ("scratch-high", {"fl_gamma": 1.5, "label_smoothing": 0.1}, FOCAL),
        ("VOC", {"label_smoothing": 0.05}, VOC),
    ],
)
def test_the_gains_of_the_figures_are_those_of_our_files(name, others, expected):
    hyp = load_hyp(ROOT / f"data/hyps/hyp.{name}.yaml", find_loss(Detect)) | others

    assert vars(LossGains.from_hyp(hyp, levels=3, nc=80, imgsz=640)) == pytest.approx(vars(expected), rel=1e-12)


@pytest.mark.parametrize(("gains", "obj"), [(LOW, 4.6057034), (FOCAL, 1.5002613), (VOC, 2.3824382)])
def test_without_targets_only_the_objectness_term_is_left(gains, obj):
    maps = [m.requires_grad_() for m in formula_maps()]

    total, terms = DetectionLoss(ANCHORS, 80, gains)(maps, torch.zeros(0, 6))
    total.backward()

    np.testing.assert_allclose(terms, (0, obj, 0), rtol=1e-6)
    np.testing.assert_allclose(total.item(), 2 * obj, rtol=1e-6)
    assert all(m.grad[..., 4].all() and not m.grad[..., 5:].any() for m in maps)


def test_assignments_of_the_formula_stand_in_the_order_of_the_reference():
    matches = assign_targets(FORMULA_TARGETS, ANCHORS, FORMULA_GRIDS, anchor_t=4.0)

    columns = (matches.image, matches.class_id, matches.anchor, matches.row, matches.column)
    fine, _, coarse = torch.stack(columns, dim=1).split(matches.per_level)
    assert [len(fine), len(coarse)] == [23, 12]
    assert [tuple(row) for row in coarse.tolist()] == [
        *[(0, 3, 0, 1, 2), (1, 0, 0, 2, 1), (1, 0, 1, 2, 1), (1, 0, 2, 2, 1)],  # own cells
        *[(0, 3, 0, 1, 1), (1, 0, 0, 2, 0), (1, 0, 1, 2, 0), (1, 0, 2, 2, 0)],  # left
        *[(0, 3, 0, 0, 2), (1, 0, 0, 1, 1), (1, 0, 1, 1, 1), (1, 0, 2, 1, 1)],  # above
    ]
    assert [tuple(row) for row in fine[:8].tolist()] == [
        *[(0, 3, 0, 5, 8), (0, 17, 0, 10, 1), (0, 3, 1, 5, 8), (0, 17, 1, 10, 1)],
        *[(0, 3, 2, 5, 8), (1, 3, 2, 3, 12), (1, 0, 2, 8, 5), (0, 3, 0, 5, 7)],
    ]


@pytest.mark.parametrize(("name", "non_blocking"), [("cuda", True), ("mps", False), ("cpu", False)])
def test_only_copies_to_cuda_may_be_unfinished_when_they_return(monkeypatch, name, non_blocking):
    matches = assign_targets(FORMULA_TARGETS, ANCHORS, FORMULA_GRIDS, anchor_t=4.0)
    asked = []
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_, **options: asked.append(options["non_blocking"]) or self)

    matches.to(torch.device(name))

    assert set(asked) == {non_blocking}


def test_a_centre_on_the_far_edge_belongs_to_the_last_cell():
    # once as its own cell, moved inside the grid, once as the one left of it and once as the one above
    targets = torch.tensor([[0, 0, 1.0, 1.0, 0.25, 0.25]])

    matches = assign_targets(targets, torch.ones(1, 1, 2), [(4, 4)], anchor_t=4.0)

    assert (matches.row.tolist(), matches.column.tolist()) == ([3, 3, 3], [3, 3, 3])
    assert matches.box.tolist() == [[1, 1, 1, 1]] * 3


def test_a_centre_one_cell_from_an_edge_gets_no_neighbour_on_that_side():
    targets = torch.tensor([[0, 0, 0.25, 0.75, 0.25, 0.25]])  # at (1, 3) of four cells

    matches = assign_targets(targets, torch.ones(1, 1, 2), [(4, 4)], anchor_t=4.0)

    # its own cell, the one above, and the right one, which half a cell further is still its own
    assert list(zip(matches.column.tolist(), matches.row.tolist(), strict=True)) == [(1, 3), (1, 2), (1, 3)]


def test_a_centre_outside_the_image_belongs_to_the_nearest_cell():
    targets = torch.tensor([[0, 0, -0.375, 0.375, 0.25, 0.25]])

    matches = assign_targets(targets, torch.ones(1, 1, 2), [(4, 4)], anchor_t=4.0)

    assert (matches.row.tolist(), matches.column.tolist()) == ([1], [0])


def test_a_side_that_differs_by_the_whole_threshold_is_no_match():
    targets = torch.tensor([[0, 0, 0.375, 0.375, 1.0, 0.25], [0, 0, 0.375, 0.375, 0.99, 0.25]])

    matches = assign_targets(targets, torch.ones(1, 1, 2), [(4, 4)], anchor_t=4.0)

    assert matches.box[:, 2:].tolist() == [[pytest.approx(3.96), 1]]


def test_matches_that_share_a_cell_know_the_last_of_them():
    # Two targets in cell (1, 1) of image 0, one in the same cell of image 1
    targets = torch.tensor([[image, 0, 0.375, 0.375, 0.25, 0.25] for image in (0, 1, 0)])

    matches = assign_targets(targets, torch.ones(1, 1, 2), [(4, 4)], anchor_t=4.0)

    assert matches.last.tolist() == [2, 1, 2]


@pytest.mark.parametrize(("sizes", "overlap"), [((0.5, 0.25), 1.0), ((0.25, 0.5), 0.25)])
def test_the_later_of_two_targets_in_a_cell_sets_its_objectness(sizes, overlap):
    # Zero box logits predict the anchor, one cell wide, at the cell's centre, where both targets lie.
    targets = torch.tensor([[0, 0, 0.375, 0.375, size, size] for size in sizes])
    maps = torch.zeros(1, 1, 4, 4, 6)
    maps[..., 4] = 3.0

    _, terms = DetectionLoss(torch.ones(1, 1, 2), 1, LOW)([maps], targets)

    cells, balance = 16, 4.0
    assert terms[1].item() == pytest.approx(balance * (math.log1p(math.exp(3)) - 3 * overlap / cells), rel=1e-5)


def test_a_perfect_prediction_costs_nothing():
    maps = torch.full((1, 1, 4, 4, 7), -20.0)
    maps[0, 0, 1, 2] = torch.tensor([0, 0, 0, 0, 20.0, -20.0, 20.0])

    total, _ = DetectionLoss(torch.ones(1, 1, 2), 2, LOW)([maps], torch.tensor([[0, 1, 0.625, 0.375, 0.25, 0.25]]))

    assert total.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("levels", "nc"), [(1, 3), (2, 1), (4, 3), (4, 1)])
def test_any_number_of_levels_and_a_single_class_have_finite_gradients(levels, nc):
    maps = [m.requires_grad_() for m in small_maps(levels, nc)]

    total, terms = DetectionLoss(torch.ones(levels, 2, 2) * 3, nc, LOW)(maps, small_targets(9, nc))
    total.backward()

    assert total.item() == pytest.approx(2 * terms.sum().item())
    assert (terms[2] == 0) == (nc == 1)
    assert all(m.grad.isfinite().all() and m.grad[..., 4].all() for m in maps)


def test_six_levels_are_balanced():
    weights = [4.0, 1.0, 0.25, 0.06, 0.02, 0.02]
    maps = [torch.zeros(1, 1, 1, 1, 7) for _ in weights]  # every cell costs ln 2

    _, terms = DetectionLoss(torch.ones(6, 1, 2), 2, LOW)(maps, torch.zeros(0, 6))

    assert terms[1].item() == pytest.approx(math.log(2) * sum(weights))


def test_low_precision_maps_have_a_float32_loss_and_their_own_gradient():
    maps = [m.bfloat16().requires_grad_() for m in small_maps(3, 4)]
    targets, loss = small_targets(9, 4), DetectionLoss(torch.ones(3, 2, 2) * 3, 4, LOW)

    total, _ = loss(maps, targets)
    total.backward()

    assert total.dtype == torch.float32
    assert total.item() == loss([m.detach().float() for m in maps], targets)[0].item()
    assert all(m.grad.dtype == torch.bfloat16 for m in maps)


@pytest.mark.parametrize("gains", [LOW, FOCAL])
def test_gradients_equal_finite_differences(gains):
    # Every target stands twice, so that rows which several matches share are covered.
    maps = [m.double() for m in small_maps(2, 2, batch=1)]
    targets, loss = small_targets(4, 2).repeat(2, 1), DetectionLoss(torch.ones(2, 2, 2) * 3, 2, gains)
    targets[:, 0] = 0
    free = [m.clone().requires_grad_() for m in maps]
    loss(free, targets)[0].backward()
    direction = [m.grad / m.grad.norm() for m in free]

    step = 1e-2  # along the gradient; roughly, since α of CIoU and the objectness goals count as constants
    ahead, behind = ([m + sign * step * d for m, d in zip(maps, direction, strict=True)] for sign in (1, -1))
    slope = (loss(ahead, targets)[0] - loss(behind, targets)[0]).item() / (2 * step)
    assert slope == pytest.approx(
        sum((d * m.grad).sum().item() for d, m in zip(direction, free, strict=True)), rel=0.01
    )


def test_maps_in_any_memory_layout_have_the_same_loss_and_gradient():
    plain = [m.requires_grad_() for m in small_maps(3, 4)]
    strided = [m.detach().permute(0, 4, 1, 2, 3).contiguous().permute(0, 2, 3, 4, 1).requires_grad_() for m in plain]
    targets, loss = small_targets(9, 4), DetectionLoss(torch.ones(3, 2, 2) * 3, 4, LOW)

    totals = [loss(maps, targets)[0] for maps in (plain, strided)]
    for total in totals:
        total.backward()

    torch.testing.assert_close(*totals)
    for a, b in zip(plain, strided, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("logit", [-200.0, 200.0])
@pytest.mark.parametrize("gains", [LOW, FOCAL, LossGains(fl_gamma=0.5)])
def test_saturated_logits_have_finite_gradients(gains, logit):
    maps = [torch.full_like(m, logit).requires_grad_() for m in small_maps(3, 4)]

    DetectionLoss(torch.ones(3, 2, 2) * 3, 4, gains)(maps, small_targets(9, 4))[0].backward()

    assert all(m.grad.isfinite().all() for m in maps)


def test_gains_of_a_hyper_parameter_file_are_scaled_to_levels_classes_and_pixels():
    hyp = {"box": 0.05, "obj": 1.0, "cls": 0.5, "obj_pw": 1.0, "cls_pw": 1.0, "anchor_t": 4, "fl_gamma": 0, "lr0": 0.01}

    gains = LossGains.from_hyp(hyp, levels=4, nc=20, imgsz=1280)

    assert gains.box == pytest.approx(0.05 * 0.75)
    assert gains.obj == pytest.approx(1.0 * 4 * 0.75)
    assert gains.cls == pytest.approx(0.5 * 0.25 * 0.75)
    assert gains.label_smoothing == 0


def test_a_missing_hyper_parameter_is_named():
    with pytest.raises(ConfigError, match="'cls'"):
        LossGains.from_hyp({"box": 0.05}, levels=3, nc=80, imgsz=640)
