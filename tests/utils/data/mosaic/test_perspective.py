"""The random warp's matrix and what it keeps of labels, against the reference's figures."""

import random

import numpy as np
import pytest

from utils.data.mosaic.perspective import SCALE, is_learnable, polygon_boxes, warp_labels, warp_matrices, warp_ranges
from utils.data.mosaic.ragged import Ragged

BOXES = np.array([[100, 120, 300, 320], [500, 500, 630, 639], [10, 10, 14, 600], [320, 320, 322, 322]], float)
OUTLINES = [
    [(100, 120), (300, 120), (300, 320), (100, 320)],
    [(500, 500), (630, 520), (600, 639)],
    [(10, 10), (14, 10), (14, 600)],
    [(320, 320), (322, 320), (322, 322)],
]


def warp(seed, ranges, output, polygons=None):
    """Return the matrix, and the boxes kept of BOXES by number, for the reference's order of draws."""
    draw = random.Random(seed)
    values = np.array([[draw.uniform(low, high) for low, high in zip(*ranges, strict=True)]])
    matrix = warp_matrices(values, np.array([[640, 640]]), (output, output))
    every = np.repeat(matrix, len(BOXES), 0)
    boxes, kept = warp_labels(BOXES, polygons, every, np.repeat(values[:, SCALE], len(BOXES)), (output, output))
    return matrix[0], {int(number): boxes[number] for number in np.flatnonzero(kept)}


def test_affine_warp_of_boxes_equals_the_reference():
    matrix, kept = warp(0, warp_ranges(10, 0.1, 0.5, 5, 0), 320)

    assert matrix[:2] == pytest.approx(
        np.array([[0.758666, -0.019546, -58.355439], [0.00845, 0.758974, -98.163879]]), abs=1e-6
    )
    assert list(kept) == [0]
    assert kept[0] == pytest.approx([11.256, 0, 166.899, 147.243], abs=1e-3)


def test_polygons_give_tighter_boxes_as_in_the_reference():
    polygons = Ragged.join([np.array(outline) for outline in OUTLINES], 2)

    _, kept = warp(0, warp_ranges(10, 0.1, 0.5, 5, 0), 320, polygons)

    assert list(kept) == [0, 1]
    assert kept[0] == pytest.approx([11.268, 0.444, 166.77, 147.24], abs=1e-3)
    assert kept[1] == pytest.approx([311.205, 285.548, 319.992, 298.322], abs=1e-3)


def test_perspective_warp_equals_the_reference():
    matrix, kept = warp(1, warp_ranges(0, 0.1, 0.5, 0, 0.0005), 640)

    expected = [[0.630971, 0.11792, 99.75872], [-0.130516, 0.879088, 117.413646], [-0.000366, 0.000347, 1.005825]]
    assert matrix == pytest.approx(np.array(expected), abs=1e-6)
    assert list(kept) == [0, 1, 2]
    assert kept[0] == pytest.approx([175.088, 195.931, 324.412, 356.957], abs=1e-3)
    assert kept[1] == pytest.approx([469.462, 493.316, 586.005, 598.431], abs=1e-3)
    assert kept[2] == pytest.approx([106.646, 123.86, 148.321, 531.804], abs=1e-3)


def test_an_object_without_polygon_keeps_the_box_rule_beside_one_that_has_a_polygon():
    mixed = Ragged.join([np.array(OUTLINES[0]), np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2))], 2)

    _, kept = warp(0, warp_ranges(10, 0.1, 0.5, 5, 0), 320, mixed)

    assert list(kept) == [0]  # box 1 shows less than a tenth of its area


def test_a_polygon_outside_the_picture_has_an_empty_box():
    outline = Ragged.join([np.array([(700, 700), (800, 700), (800, 800)])], 2)

    assert polygon_boxes(outline, np.eye(3)[None], (640, 640)).tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        ((100, 100), (30, 30), False),  # 9 % of the area
        ((100, 100), (32, 32), True),
        ((100, 100), (90, 1.9), False),  # too low
        ((10, 10), (3, 3), False),
        ((300, 10), (300, 2.5), False),  # 120 times as wide as high
        ((100, 100), (100, 10), False),  # each limit by itself, reached: a tenth of the area
        ((100, 100), (100, 10.1), True),
        ((10, 4), (10, 2), False),  # two pixels high
        ((10, 4), (10, 2.01), True),
        ((4, 10), (2, 10), False),
        ((300, 10), (300, 3), False),  # a hundred times as wide as high
        ((300, 10), (299, 3), True),
        ((10, 300), (3, 300), False),
    ],
)
def test_what_is_small_thin_or_mostly_hidden_is_dropped(old, new, kept):
    assert is_learnable(np.array([[0, 0, *old]]), np.array([[0.0, 0.0, *new]])).tolist() == [kept]


def test_no_values_leave_the_picture_as_it_is():
    low, high = warp_ranges(0, 0, 0, 0, 0)

    assert np.array_equal(low, high)
    assert warp_matrices(low[None], np.array([[64, 64]]), (64, 64))[0] == pytest.approx(np.eye(3))
