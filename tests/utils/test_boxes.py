"""Box formats and overlaps agree with the golden figures, with torchvision and with arithmetic by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import ops

from utils.boxes import box_iou, cxcywh_to_xyxy, paired_iou, unletterbox, xyxy_to_cxcywh

GOLDEN = Path(__file__).parents[1] / "golden"


def random_boxes(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 4, generator=generator) * torch.tensor([100.0, 100.0, 60.0, 60.0]) + 1


def test_formats_convert_by_hand_and_back():
    cxcywh = torch.tensor([[50.0, 40.0, 20.0, 10.0]])

    assert cxcywh_to_xyxy(cxcywh).tolist() == [[40, 35, 60, 45]]
    assert xyxy_to_cxcywh(cxcywh_to_xyxy(cxcywh)).tolist() == cxcywh.tolist()


@pytest.mark.parametrize("kind", ["IoU", "GIoU", "DIoU", "CIoU"])
def test_paired_overlaps_equal_the_golden_figures(kind):
    golden = np.load(GOLDEN / "iou.npz")

    overlap = paired_iou(torch.from_numpy(golden["a"]), torch.from_numpy(golden["b"]), kind.lower())

    np.testing.assert_allclose(overlap, golden[kind][:, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "iou", "ciou"),
    [
        ((10, 10, 20, 30), (12, 9, 22, 25), 0.7037037, 0.7000321),
        ((5, 5, 4, 4), (50, 50, 4, 8), 0, -0.8113655),
        ((3, 3, 2, 2), (3, 3, 2, 2), 1, 0.9999999),
        ((0.5, 0.5, 2, 8), (0.7, 0.2, 6, 1.5), 0.1363636, -0.0325858),
    ],
)
def test_iou_and_ciou_of_the_reference(a, b, iou, ciou):
    a, b = torch.tensor([a], dtype=torch.float64), torch.tensor([b], dtype=torch.float64)

    assert paired_iou(a, b).item() == pytest.approx(iou, abs=1e-7)
    assert paired_iou(a, b, "ciou").item() == pytest.approx(ciou, abs=1e-7)
    assert box_iou(cxcywh_to_xyxy(a), cxcywh_to_xyxy(b)).item() == pytest.approx(iou, abs=2e-7)  # float32


def test_all_pairs_agree_with_torchvision():
    a, b = cxcywh_to_xyxy(random_boxes(40, 0)), cxcywh_to_xyxy(random_boxes(30, 1))

    torch.testing.assert_close(box_iou(a, b), ops.box_iou(a, b), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        ("giou", ops.generalized_box_iou),
        ("diou", ops.distance_box_iou),
        ("ciou", ops.complete_box_iou),
    ],
)
def test_paired_overlaps_agree_with_torchvision(kind, theirs):
    a, b = random_boxes(40, 0), random_boxes(40, 1)

    expected = theirs(cxcywh_to_xyxy(a), cxcywh_to_xyxy(b)).diagonal()
    torch.testing.assert_close(paired_iou(a, b, kind), expected, atol=1e-5, rtol=0)


def test_half_precision_boxes_overlap_in_float32():
    boxes = torch.tensor([[0.0, 0.0, 600.0, 600.0]], dtype=torch.float16)  # the area overflows float16

    assert box_iou(boxes, boxes).item() == pytest.approx(1)


def test_empty_boxes_have_a_finite_gradient():
    predicted = torch.tensor([[5.0, 5.0, 0.0, 0.0], [5.0, 5.0, 3.0, 0.0], [5.0, 5.0, 0.0, 3.0]], requires_grad=True)

    paired_iou(predicted, torch.tensor([[5.0, 5.0, 2.0, 2.0]]).expand(3, 4), "ciou").sum().backward()

    assert predicted.grad.isfinite().all()


def test_unletterbox_undoes_scale_and_padding_and_clips():
    # 1280×720 letterboxed to 640×384: ratio 0.5, 12 pixels above and below
    boxes = torch.tensor([[10.0, 22.0, 30.0, 42.0], [-5.0, 0.0, 700.0, 400.0]])

    native = unletterbox(boxes, ratio=(0.5, 0.5), pad=(0.0, 12.0), shape=(720, 1280))

    assert native.tolist() == [[20, 20, 60, 60], [0, 0, 1280, 720]]
    assert boxes[1].tolist() == [-5, 0, 700, 400]


def test_unletterbox_undoes_each_axis_by_its_own_ratio():
    # 333×500 resized to 427×640, padded by (42.5, 16): the whole image must come back as the whole image
    ratio = (427 / 333, 640 / 500)

    native = unletterbox(torch.tensor([42.5, 16.0, 469.5, 656.0]), ratio, pad=(42.5, 16.0), shape=(500, 333))

    torch.testing.assert_close(native, torch.tensor([0.0, 0.0, 333.0, 500.0]))
