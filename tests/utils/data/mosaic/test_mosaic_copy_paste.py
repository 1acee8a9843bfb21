"""Copy-paste puts mirrored copies of outlined objects where they hide little."""

import numpy as np
import pytest

from utils.data.mosaic.composition import Composition
from utils.data.mosaic.copy_paste import Copies, copy_paste, hidden_share
from utils.data.mosaic.drawing import Painter, plan_drawing
from utils.data.mosaic.ragged import Ragged
from utils.data.mosaic.tiles import Objects, mosaic_layout, place_objects

SIDE = 64  # the canvas has 128
CENTRE = np.array([[64, 64]])
SIZES = np.full((1, 4, 2), 64)


def mosaic(boxes, outlined=True):
    """Return the layout of one mosaic, and the objects ``boxes`` (xyxy, pixels) of its top left tile."""
    layout = mosaic_layout(np.arange(4)[None], SIZES, CENTRE, (SIDE, SIDE))
    boxes = np.array(boxes, float).reshape(-1, 4)
    outline = boxes[:, [0, 1, 2, 1, 2, 3]].reshape(-1, 3, 2) / 64  # a triangle
    label = np.concatenate([np.full((len(boxes), 1), 7), (boxes[:, :2] + boxes[:, 2:]) / 128], 1)
    label = np.concatenate([label, (boxes[:, 2:] - boxes[:, :2]) / 64], 1)
    labels = Ragged.join([label, [], [], []], 5)
    polygons = Ragged.join(list(outline) if outlined else [[] for _ in outline], 2)
    return layout, place_objects(layout, labels, polygons)


def test_a_copy_is_the_mirror_image_with_box_and_outline():
    layout, objects = mosaic([[10, 20, 30, 50]])

    result, copies = copy_paste(layout, objects, 1.0, [np.random.default_rng(0)])

    assert result.boxes.tolist() == [[10, 20, 30, 50], [98, 20, 118, 50]]
    assert result.classes.tolist() == [7, 7]
    assert result.polygons.take(np.array([1])).values.tolist() == [[118, 20], [98, 20], [98, 50]]
    assert copies.tile.tolist() == [0]


@pytest.mark.parametrize(("share", "copies"), [(0.0, 0), (0.25, 1), (0.5, 2), (1.0, 4)])
def test_the_share_of_copied_objects(share, copies):
    layout, objects = mosaic([[0, 0, 8, 8], [0, 10, 8, 18], [0, 20, 8, 28], [0, 30, 8, 38]])

    result, _ = copy_paste(layout, objects, share, [np.random.default_rng(0)])

    assert len(result.boxes) == 4 + copies


def test_nothing_is_copied_onto_another_object_or_without_an_outline():
    layout, objects = mosaic([[40, 20, 64, 50]])
    everywhere = Objects(objects.classes, np.array([[30.0, 0, 98, 128]]), objects.polygons, objects.tile)

    assert len(copy_paste(layout, everywhere, 1.0, [np.random.default_rng(0)])[0].boxes) == 1
    layout, objects = mosaic([[10, 20, 30, 50]], outlined=False)
    assert len(copy_paste(layout, objects, 1.0, [np.random.default_rng(0)])[0].boxes) == 1


def test_hidden_share_is_that_of_the_box_below():
    assert hidden_share(np.array([[0, 0, 10, 10], [20, 0, 30, 10]]), np.array([[5, 0, 15, 10]])) == pytest.approx(
        [0.5, 0]
    )


def test_the_pixels_of_a_copy_are_mirrored_inside_the_outline_only():
    layout, objects = mosaic([[10, 20, 30, 50]])
    _, copies = copy_paste(layout, objects, 1.0, [np.random.default_rng(0)])
    images = [np.full((64, 64, 3), 50 * tile, np.uint8) for tile in range(4)]
    images[0][20:50, 10:20] = 200  # left half of the object
    images[0][20:50, 20:30] = 250
    shrink = np.array([np.diag([0.5, 0.5, 1.0])])  # the picture shows the whole canvas
    composition = Composition(layout, np.array([0]), shrink, np.array([0.5]), np.zeros((1, 2), bool), (SIDE, SIDE))

    def paint(copies):
        drawing = plan_drawing(composition, copies, np.full((4, 2), 64))
        return Painter().paint(drawing, np.array([0]), np.ones(1), images.__getitem__)[0, ..., 0]

    before, after = paint(Copies.none()), paint(copies)

    assert before[12, 50:58].tolist() == [50] * 8
    assert after[11, 50:53].tolist() == [250] * 3  # near the triangle's upper edge, y = 20 on the canvas
    assert after[11, 55:58].tolist() == [200] * 3
    assert after[23, 56:].tolist() == [50] * 8  # the corner that the triangle leaves out
    assert np.array_equal(before[:, :32], after[:, :32])
