"""Validation batches: order, shapes and the facts that undo the letterbox."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from utils.data.loader import build_val_loader
from utils.data.val_batches import ValBatches
from utils.pixels import RGB

SIZES = [(640, 480), (480, 640), (500, 500), (1000, 300), (300, 1000), (1280, 720), (333, 500)]  # (w, h)


@pytest.fixture
def scan(tmp_path):
    paths = []
    for number, (width, height) in enumerate(SIZES):
        image = np.zeros((height, width, 3), np.uint8)
        image[height // 4 : height // 2, width // 4 : width // 2] = 255  # cx = cy = 3/8, w = h = 1/4
        paths.append(str(tmp_path / f"{number:03}.png"))
        cv2.imwrite(paths[-1], image)
    labels = [np.array([[number, 0.375, 0.375, 0.25, 0.25]], np.float32) for number in range(len(SIZES))]
    shapes = np.array([(height, width) for width, height in SIZES])
    nothing = [np.zeros((0, 5), np.float32)] * len(paths)
    facts = {"image_paths": paths, "labels": labels, "shapes": shapes, "segments": [[] for _ in paths]}
    return SimpleNamespace(**facts, ignored=nothing, pixels=RGB)


def test_images_of_similar_proportions_share_a_batch_as_in_the_reference(scan):
    batches = list(build_val_loader(scan, 640, 2, workers=0))

    order = [path[-7:-4] for batch in batches for path in batch.paths]
    assert order == ["003", "005", "000", "002", "001", "006", "004"]
    assert [batch.images.shape[2:] for batch in batches] == [(384, 672), (672, 672), (672, 512), (672, 224)]


def test_images_of_the_same_proportions_keep_the_order_of_their_files():
    shapes = np.array([(480, 640), (600, 800), (640, 480)] * 40)
    store = SimpleNamespace(shapes=shapes, shape=(640, 640))

    order = ValBatches(None, store, batch_size=16, stride=32, rect=True, pad=0.5).order.tolist()

    wide = [index for index in range(120) if index % 3 < 2]
    assert order == [*wide, *range(2, 120, 3)]


def test_shapes_carry_original_size_ratio_and_padding(scan):
    batches = list(build_val_loader(scan, 640, 2, workers=0))

    original, ratio, pad = batches[2].shapes[1]  # image 006, 333 wide, becomes 427×640

    assert original == (500, 333)
    assert ratio == pytest.approx((1.28228, 1.28), abs=1e-5)
    assert pad == (42.5, 16.0)


@pytest.mark.parametrize("rect", [True, False])
def test_targets_frame_the_object_in_the_pixels(scan, rect):
    for batch in build_val_loader(scan, 640, 2, workers=0, rect=rect):
        height, width = batch.images.shape[2:]
        for number, image in enumerate(batch.images):
            (target,) = batch.targets[batch.targets[:, 0] == number]
            bright = np.argwhere(image[0].numpy() > 180)
            low, high = bright.min(0)[::-1], bright.max(0)[::-1] + 1
            centre, size = target[2:4].numpy() * (width, height), target[4:6].numpy() * (width, height)
            assert centre - size / 2 == pytest.approx(low, abs=1.5)
            assert centre + size / 2 == pytest.approx(high, abs=1.5)


def test_without_rect_every_batch_is_square_and_in_the_order_of_the_files(scan):
    batches = list(build_val_loader(scan, 320, 3, workers=0, rect=False))

    assert {tuple(batch.images.shape[2:]) for batch in batches} == {(320, 320)}
    assert [path for batch in batches for path in batch.paths] == scan.image_paths


def test_undoing_the_letterbox_returns_the_label(scan):
    for batch in build_val_loader(scan, 640, 3, workers=0):
        for number, ((height, width), ratio, pad) in enumerate(batch.shapes):
            (target,) = batch.targets[batch.targets[:, 0] == number].numpy()
            centre = (target[2:4] * batch.images.shape[:1:-1] - pad) / ratio / (width, height)
            assert centre == pytest.approx([0.375, 0.375], abs=1e-5)
