"""The loss of the anchor-free head equals the reference and a plain dense calculation, in value and gradient."""

import math

import numpy as np
import pytest
import torch
from anchor_free_case import STRIDES, decode, golden_case
from torch import Tensor
from torch.nn import functional as F

from utils.losses.anchor_free_loss import AnchorFreeGains, AnchorFreeLoss, distribution_focal

GAINS = AnchorFreeGains()
BINS, NC = 8, 3  # of the small cases
SMALL_STRIDES = (8.0, 16.0)


def small_loss(least_side: float | None = None) -> AnchorFreeLoss:
    loss = AnchorFreeLoss(SMALL_STRIDES, NC, BINS, GAINS)
    loss.least_side = loss.least_side if least_side is None else least_side
    return loss


def small_maps(seed: int, batch: int = 2) -> list[Tensor]:
    """Return maps of 48×64 pixels whose predictions are of all sizes."""
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(batch, 4 * BINS + NC, 48 // s, 64 // s, generator=generator) for s in (8, 16)]
    for m in maps:
        m[:, : 4 * BINS] *= 3
    return maps


def small_targets(seed: int, batch: int = 2) -> Tensor:
    """Return targets of all kinds, mixed: common, tiny, at a border, as large as the image, without a point, equal."""
    generator = torch.Generator().manual_seed(1000 + seed)
    box = torch.rand(14, 4, generator=generator)
    box[3:6, 2:] *= 0.05
    box[6:8, :2] = box[6:8, :2].round()  # centre in a corner
    box[8] = torch.tensor([0.5, 0.5, 1, 1])
    box[9] = torch.tensor([0.25, 0.5, 0.02, 0.02])  # on a corner of four cells of either level
    box[10:12] = box[0]
    box[12:] = torch.cat((box[12:, 2:] / 2, box[12:, 2:]), dim=1)  # touches the left and upper border
    head = torch.rand(14, 2, generator=generator) * torch.tensor([batch, NC])
    head[11] = head[0]  # equal to the first in everything
    targets = torch.cat((head.floor(), box), dim=1)
    return targets[torch.randperm(14, generator=generator)]


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """Return CIoU of xyxy boxes that broadcast."""
    ax1, ay1, ax2, ay2 = a.unbind(-1)
    bx1, by1, bx2, by2 = b.unbind(-1)
    inter = (torch.min(ax2, bx2) - torch.max(ax1, bx1)).clamp(min=0) * (
        torch.min(ay2, by2) - torch.max(ay1, by1)
    ).clamp(min=0)
    iou = inter / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - inter + 1e-7)
    diagonal = (torch.max(ax2, bx2) - torch.min(ax1, bx1)) ** 2 + (torch.max(ay2, by2) - torch.min(ay1, by1)) ** 2
    distance = ((ax1 + ax2 - bx1 - bx2) ** 2 + (ay1 + ay2 - by1 - by2) ** 2) / 4
    angles = [torch.atan((x2 - x1) / (y2 - y1)) for x1, y1, x2, y2 in ((ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2))]
    v = 4 / math.pi**2 * (angles[1] - angles[0]) ** 2
    alpha = (v / (v - iou + 1 + 1e-7)).detach()
    return iou - distance / (diagonal + 1e-7) - alpha * v


def dense_assignment(boxes: Tensor, scores: Tensor, labels: Tensor, corners: Tensor, inside: Tensor) -> dict:
    """Return point → (target, score) of one image, from tables of all ``(M, N)`` pairs."""
    overlap = ciou(corners[:, None], boxes[None]).clamp(min=0) * inside
    metric = scores[:, labels].T.sqrt() * overlap**6
    chosen = torch.zeros_like(inside)
    for row, best in zip(chosen, metric.topk(10).indices, strict=True):
        row[best] = True
    chosen &= metric > 0
    owner = {}
    for point in chosen.any(dim=0).nonzero()[:, 0].tolist():
        rows = chosen[:, point].nonzero()[:, 0]
        owner[point] = int(rows[0]) if len(rows) == 1 else int(overlap[:, point].argmax())
    result = {}
    for row in range(len(labels)):
        points = [point for point, of in owner.items() if of == row]
        for point in points:
            scale = overlap[row, points].max() / (metric[row, points].max() + 1e-9)
            result[point] = row, metric[row, point] * scale
    return result


def dense_loss(maps: list[Tensor], targets: Tensor, least_side: float) -> Tensor:
    """Return the three terms, calculated in double precision with dense targets."""
    maps = [m.double() for m in maps]
    size = torch.tensor([maps[0].shape[3], maps[0].shape[2]] * 2) * SMALL_STRIDES[0]
    boxes, logits = decode(maps, SMALL_STRIDES, BINS)
    points, stride, sides = [], [], []
    for m, s in zip(maps, SMALL_STRIDES, strict=True):
        points += [(x + 0.5, y + 0.5) for y in range(m.shape[2]) for x in range(m.shape[3])]
        stride += [s] * (m.shape[2] * m.shape[3])
        sides.append(m[:, : 4 * BINS].flatten(2).transpose(1, 2))
    points, stride, sides = torch.tensor(points), torch.tensor(stride)[:, None], torch.cat(sides, dim=1)
    goal = torch.zeros_like(logits)
    box_sum = dfl_sum = torch.zeros(())
    for image in range(len(logits)):
        rows = targets[targets[:, 0] == image]
        centre, extent = (rows[:, 2:] * size).split(2, dim=1)
        corners = torch.cat((centre - extent / 2, centre + extent / 2), dim=1).double()
        large = extent.clamp(min=least_side)
        low, high = (centre - large / 2)[:, None], (centre + large / 2)[:, None]
        place = points * stride
        inside = ((place - low > 1e-9) & (high - place > 1e-9)).all(dim=2)
        labels = rows[:, 1].long()
        found = dense_assignment(boxes[image].detach(), logits[image].detach().sigmoid(), labels, corners, inside)
        for point, (row, score) in found.items():
            goal[image, point, labels[row]] = score
            s = stride[point].double()
            box_sum = box_sum + score * (1 - ciou(boxes[image, point] / s, corners[row] / s))
            distance = torch.cat((points[point] - corners[row, :2] / s, corners[row, 2:] / s - points[point]))
            for side, value in enumerate(distance.clamp(0, BINS - 1.01).tolist()):
                log_prob = sides[image, point, side * BINS :][:BINS].log_softmax(dim=0)
                low = int(value)
                entropy = -(low + 1 - value) * log_prob[low] - (value - low) * log_prob[low + 1]
                dfl_sum = dfl_sum + score * entropy / 4
    total_score = goal.sum().clamp(min=1)
    cls_sum = F.binary_cross_entropy_with_logits(logits, goal, reduction="sum")
    return torch.stack((7.5 * box_sum, 0.5 * cls_sum, 1.5 * dfl_sum)) / total_score


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("least_side", [16.0, 0.0])
def test_terms_and_gradients_equal_a_plain_dense_calculation(seed, least_side):
    ours, plain = ([m.requires_grad_() for m in small_maps(seed)] for _ in range(2))
    targets = small_targets(seed)

    total, terms = small_loss(least_side)(ours, targets)
    total.backward()
    want = dense_loss(plain, targets, least_side)
    (want.sum() * 2).backward()

    np.testing.assert_allclose(terms, want.detach(), rtol=2e-5)
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "prefix", "least_side"),
    [
        ("loss_v8_a", "", 16.0),
        ("loss_v8_a", "classic_", 0.0),
        ("loss_v8_b", "", 16.0),
        ("loss_v8_b", "classic_", 0.0),
        ("loss_v8_b", "empty_", 16.0),
    ],
)
def test_total_terms_and_gradients_equal_the_golden_figures(name, prefix, least_side):
    figures, maps = golden_case(name)
    maps = [m.requires_grad_() for m in maps]
    targets = torch.from_numpy(figures["targets"])[: 0 if prefix == "empty_" else None]
    loss = AnchorFreeLoss(STRIDES, int(figures["nc"]), 16, GAINS)
    assert loss.least_side == 16.0
    loss.least_side = least_side

    total, terms = loss(maps, targets)
    total.backward()

    np.testing.assert_allclose(total.item(), figures[f"{prefix}loss"], rtol=1e-5)
    np.testing.assert_allclose(terms, figures[f"{prefix}items"], rtol=1e-5)
    gradients = [[part.double().abs().sum().item() for part in m.grad.split((64, loss.nc), dim=1)] for m in maps]
    np.testing.assert_allclose(gradients, figures[f"{prefix}grad_abs_sum"], rtol=1e-5)


def test_the_only_level_sets_the_least_side():
    assert AnchorFreeLoss([32], 1, 16, GAINS).least_side == 32
    assert AnchorFreeLoss(torch.tensor([4, 8, 16, 32]), 1, 16, GAINS).least_side == 8


def test_equal_logits_predict_the_middle_of_the_bins():
    # distances of 7.5 cells about point (12, 12) of stride 8: the box is 120 pixels wide and equals the target
    maps = torch.full((1, 65, 3, 3), 1.0)
    maps[:, :64] = -20  # any number, the same for all bins
    targets = torch.tensor([[0, 0, 0.5, 0.5, 5, 5]])

    _, terms = AnchorFreeLoss([8], 1, 16, AnchorFreeGains(box=1, cls=1, dfl=1))([maps], targets)

    # Nine points with prediction 120×120; the score of the middle one is 1, its own CIoU
    offsets = [(dx, dy) for dx in (-8, 0, 8) for dy in (-8, 0, 8)]
    overlaps = [(120 - abs(dx)) * (120 - abs(dy)) for dx, dy in offsets]
    diagonals = [(120 + abs(dx)) ** 2 + (120 + abs(dy)) ** 2 for dx, dy in offsets]
    cious = [
        inter / (2 * 120**2 - inter) - (dx**2 + dy**2) / diagonal
        for (dx, dy), inter, diagonal in zip(offsets, overlaps, diagonals, strict=True)
    ]
    scores = [overlap**6 for overlap in cious]
    box = sum((1 - overlap) * score for overlap, score in zip(cious, scores, strict=True)) / sum(scores)
    cls = (9 * math.log1p(math.exp(1)) - sum(scores)) / sum(scores)
    np.testing.assert_allclose(terms, (box, cls, math.log(16)), rtol=1e-5)  # each bin has probability 1/16


@pytest.mark.parametrize(
    ("distance", "shares"),
    [(3.25, {3: 0.75, 4: 0.25}), (20.0, {14: 0.01, 15: 0.99}), (-2.0, {0: 1.0}), (7.0, {7: 1.0})],
)
def test_a_distance_is_shared_by_the_bins_about_it(distance, shares):
    log_prob = torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(0)).log_softmax(dim=2)

    loss = distribution_focal(log_prob, torch.full((1, 4), distance))

    want = -sum(share * log_prob[0, :, index].mean() for index, share in shares.items())
    assert loss.item() == pytest.approx(want.item(), rel=1e-5)


def test_the_order_of_targets_does_not_matter():
    maps, targets = small_maps(0, batch=4), small_targets(0, batch=4).unique(dim=0)  # equal ones are a matter of order
    order = targets[:, 0].argsort(stable=True)
    assert not torch.equal(targets.flip(0), targets[order])

    terms = [small_loss()(maps, t)[1] for t in (targets.flip(0), targets[order])]

    torch.testing.assert_close(*terms)


def test_an_empty_image_costs_its_background_only():
    maps = small_maps(0)
    targets = small_targets(0, batch=1)

    both, first = small_loss()(maps, targets)[1], small_loss()([m[:1] for m in maps], targets)[1]

    torch.testing.assert_close(both[[0, 2]], first[[0, 2]])
    assert both[1] > first[1]


def test_low_precision_maps_have_a_float32_loss_and_their_own_gradient():
    maps = [m.bfloat16().requires_grad_() for m in small_maps(0)]
    exact = [m.detach().float().requires_grad_() for m in maps]

    (total, _), (want, _) = (small_loss()(m, small_targets(0)) for m in (maps, exact))
    total.backward()
    want.backward()

    assert total.dtype == torch.float32
    assert total.item() == want.item()
    for m, same in zip(maps, exact, strict=True):
        assert m.grad.dtype == torch.bfloat16
        torch.testing.assert_close(m.grad.float(), same.grad, rtol=2**-8, atol=1e-6)


def test_autocast_changes_nothing():
    maps, targets = small_maps(0), small_targets(0)

    with torch.autocast("cpu", torch.bfloat16):
        terms = small_loss()(maps, targets)[1]

    torch.testing.assert_close(terms, small_loss()(maps, targets)[1], rtol=0, atol=0)


def test_maps_in_any_memory_layout_have_the_same_loss_and_gradient():
    plain = [m.requires_grad_() for m in small_maps(0)]
    strided = [m.detach().contiguous(memory_format=torch.channels_last).requires_grad_() for m in plain]

    totals = [small_loss()(maps, small_targets(0))[0] for maps in (plain, strided)]
    for total in totals:
        total.backward()

    torch.testing.assert_close(*totals)
    for a, b in zip(plain, strided, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("scale", [100.0, -100.0])
def test_saturated_logits_have_finite_gradients(scale):
    maps = [(m * scale).requires_grad_() for m in small_maps(0)]

    small_loss()(maps, small_targets(0))[0].backward()

    assert all(m.grad.isfinite().all() for m in maps)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_predictions_that_are_not_finite_show_in_the_total(value):
    maps = [m.requires_grad_() for m in small_maps(0)]
    with torch.no_grad():
        maps[0][:] = value

    total, _ = small_loss()(maps, small_targets(0))
    total.backward()

    assert not total.isfinite()


def test_a_crowded_batch_has_a_finite_loss():
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(4, 64 + 80, 160 // s, 160 // s, generator=generator) for s in (8, 16, 32)]
    maps = [m.requires_grad_() for m in maps]
    targets = torch.rand(1200, 6, generator=generator) * torch.tensor([4, 80, 1, 1, 0.6, 0.6])
    targets[:, 0] = torch.arange(1200) % 4
    targets[:, 1].floor_()

    total, terms = AnchorFreeLoss(STRIDES, 80, 16, GAINS)(maps, targets)
    total.backward()

    assert total.isfinite()
    assert total.item() == pytest.approx(4 * terms.sum().item())
    assert all(m.grad.isfinite().all() and m.grad[:, :64].any() for m in maps)


def test_terms_are_named_in_their_order():
    assert AnchorFreeLoss.terms == ("box", "cls", "dfl")
