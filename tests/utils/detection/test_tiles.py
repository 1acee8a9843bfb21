"""Tiles find what is too small in the whole image, once, where it is, and nothing in part."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy import ndimage

from utils.detection.predict import Predictor
from utils.detection.tiles import TiledPredictor, merge_boxes, starts
from utils.predictions import BN5C, Predictions

LEAST = 6  # pixels of its input from which the detector below sees a thing


class Seer:
    """Finds white rectangles of ``LEAST`` pixels a side or more in its input; the larger, the surer."""

    names, stride, fixed_size, layout = {0: "dot"}, 32, None, BN5C

    def __init__(self):
        self.batches = []

    def __call__(self, images):
        self.batches.append(len(images))
        rows = [self._rows(image) for image in images[:, 0].numpy() > 0.5]
        longest = max(map(len, rows))
        return Predictions(torch.tensor([row + [[0.0] * 6] * (longest - len(row)) for row in rows]), BN5C)

    def _rows(self, image):
        rows = [[0.0] * 6]
        for y, x in ndimage.find_objects(ndimage.label(image)[0]):
            width, height = x.stop - x.start, y.stop - y.start
            if min(width, height) >= LEAST:
                centre = [(x.start + x.stop) / 2, (y.start + y.stop) / 2]
                rows.append([*centre, width, height, 1.0, min(0.5 + width * height / 1e5, 1.0)])
        return rows


def tiled(seer, tile=320, overlap=0.2, batch=4):
    predict = Predictor(seer, torch.device("cpu"), imgsz=(320,))
    return TiledPredictor(
        predict, tile, overlap, partial(merge_boxes, iou_thres=0.45, agnostic=False, max_det=99), batch
    )


def picture(boxes, height=900, width=1300):
    image = np.zeros((height, width, 3), np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 255
    return image


def test_tiny_objects_are_found_once_each_and_large_ones_whole():
    rng = np.random.default_rng(0)
    cells = rng.permutation(12 * 17)[:60]  # of 60 pixels, so that no two touch
    corners = np.stack((cells % 17 * 60, cells // 17 * 60), axis=1) + rng.integers(1, 40, (60, 2))
    tiny = np.hstack((corners, corners + 12))  # 12 px: 3 px in the whole image at 320, and 12 px in a tile
    large = np.array([[1060, 100, 1290, 700]])  # larger than the overlap: in every tile only a part
    image = picture(np.vstack((tiny, large)).tolist())
    seer = Seer()

    alone = Predictor(Seer(), torch.device("cpu"), imgsz=(320,))(image).boxes
    found = tiled(seer).batch([image])[0].boxes

    assert len(alone) == 1, "the whole image shows the large one only"
    boxes = found[:, :4].numpy()
    assert len(boxes) == 61
    for truth in np.vstack((tiny, large)):
        assert np.abs(boxes - truth).max(axis=1).min() < 5
    assert seer.batches == [1, 4, 4, 4, 4, 4], "a pass of the whole image, 4 × 5 tiles"


def test_an_image_no_larger_than_a_tile_is_looked_at_once():
    seer = Seer()
    image = picture([(10, 10, 30, 30)], 200, 320)

    (found,) = tiled(seer).batch([image])

    assert seer.batches == [1]
    assert found.boxes[0, :4].tolist() == [10, 10, 30, 30]


def test_an_object_that_only_parts_were_seen_of_is_not_lost():
    part = torch.tensor([[0.0, 0, 40, 40, 0.9, 0], [60, 0, 90, 40, 0.8, 0]])

    merged = merge_boxes(part, torch.tensor([True, True]), 0.45, False, 9)

    assert merged.tolist() == part.tolist()


@pytest.mark.parametrize(("agnostic", "kept"), [(False, [[0, 0.5], [1, 0.9]]), (True, [[0, 0.5]])])
def test_a_sure_part_does_not_displace_the_whole_it_belongs_to(agnostic, kept):
    boxes = torch.tensor([[0.0, 0, 100, 100, 0.5, 0], [0, 0, 80, 100, 0.9, 0], [0, 0, 79, 100, 0.9, 1]])

    merged = merge_boxes(boxes, torch.tensor([False, True, True]), 0.45, agnostic, 9)

    assert sorted([int(c), round(s, 3)] for s, c in merged[:, 4:].tolist()) == kept


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "expected"),
    [
        (640, 640, 0.2, [0]),
        (100, 640, 0.2, [0]),
        (641, 640, 0.2, [0, 1]),
        (1152, 640, 0.2, [0, 512]),
        (1153, 640, 0.2, [0, 256, 513]),
        (1280, 640, 0, [0, 640]),
    ],
)
def test_tiles_cover_a_side_and_overlap_by_the_share_or_more(length, tile, overlap, expected):
    assert starts(length, tile, overlap) == expected
