"""Training batches that are not square: the shapes they get, the images in them, and where the objects lie."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from utils.data.image_store import nominal_sizes
from utils.data.letterbox import letterbox
from utils.data.loader import BatchLoader, build_train_loader, build_val_loader
from utils.data.mosaic.augment import AugmentConfig
from utils.data.order import Sampling
from utils.pixels import RGB

SIZES = [(640, 480), (480, 640), (500, 500), (1000, 300), (300, 1000), (1280, 720), (333, 500)]  # (w, h)
SORTED = ["003", "005", "000", "002", "001", "006", "004"]  # by h / w
MOVED = AugmentConfig(translate=0.1, scale=0.3, fliplr=0.5, flipud=0.5, hsv_v=0.2)
EVERYTHING = AugmentConfig(translate=0.1, scale=0.3, mosaic=1.0, mixup=1.0, copy_paste=1.0)

RECT = Sampling(rect_stride=32)


@pytest.fixture
def scan(tmp_path):
    paths = []
    for number, (width, height) in enumerate(SIZES):
        image = np.full((height, width, 3), 20, np.uint8)
        image[height // 4 : height // 2, width // 4 : width // 2] = 250  # cx = cy = 3/8, w = h = 1/4
        paths.append(str(tmp_path / f"{number:03}.png"))
        cv2.imwrite(paths[-1], image)
    labels = [np.array([[number, 0.375, 0.375, 0.25, 0.25]], np.float32) for number in range(len(SIZES))]
    shapes = np.array([(height, width) for width, height in SIZES])
    nothing = [np.zeros((0, 5), np.float32)] * len(paths)
    facts = {"image_paths": paths, "labels": labels, "shapes": shapes, "segments": [[] for _ in paths]}
    return SimpleNamespace(**facts, ignored=nothing, pixels=RGB)


def names(batch):
    return [path[-7:-4] for path in batch.paths]


def epoch_of(loader, epoch):
    loader.set_epoch(epoch)
    return list(loader)


def test_rectangular_batches_have_the_shapes_of_the_reference(scan):
    batches = list(build_train_loader(scan, 640, 2, AugmentConfig(), workers=0, sampling=RECT))

    shapes = {tuple(names(batch)): tuple(batch.images.shape[2:]) for batch in batches}
    assert shapes == {  # 0.5625 · 640 = 360 → 384, 640 / (640 / 480) = 480, 640 · 0.3 = 192
        ("003", "005"): (384, 640),
        ("000", "002"): (640, 640),
        ("001", "006"): (640, 480),
        ("004",): (640, 192),
    }


def test_every_epoch_visits_the_same_rectangular_batches_in_a_new_order(scan):
    loader = build_train_loader(scan, 64, 1, AugmentConfig(), seed=5, workers=0, sampling=RECT)
    again = build_train_loader(scan, 64, 1, AugmentConfig(), seed=5, workers=0, sampling=RECT)
    other = build_train_loader(scan, 64, 1, AugmentConfig(), seed=6, workers=0, sampling=RECT)

    orders = [[names(batch)[0] for batch in epoch_of(loader, epoch)] for epoch in range(4)]

    assert all(sorted(order) == sorted(SORTED) for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    assert [names(batch)[0] for batch in epoch_of(again, 3)] == orders[3]
    assert [[names(batch)[0] for batch in epoch_of(other, epoch)] for epoch in range(4)] != orders


def test_a_rectangular_batch_is_a_function_of_seed_epoch_and_number(scan):
    batches = build_train_loader(scan, 64, 2, MOVED, workers=0, sampling=RECT).batches
    helped = BatchLoader(build_train_loader(scan, 64, 2, MOVED, workers=0, sampling=RECT).batches, workers=2)

    for number, batch in reversed(list(enumerate(epoch_of(helped, 4)))):
        alone = batches[4, number]
        assert torch.equal(alone.images, batch.images) and torch.equal(alone.targets, batch.targets)
        assert alone.paths == batch.paths


def test_rectangular_batches_show_one_image_each_whatever_the_shares_of_mosaics(scan):
    for batch in build_train_loader(scan, 64, 3, EVERYTHING, workers=0, sampling=RECT):
        assert batch.targets[:, 1].tolist() == [float(name) for name in names(batch)]  # classes are numbers of images


@pytest.mark.parametrize(("imgsz", "rect_stride"), [(320, 32), ((192, 320), None), ((320, 192), 64)])
def test_without_augmentation_images_are_letterboxed_into_the_shape_of_their_batch(scan, imgsz, rect_stride):
    for batch in build_train_loader(
        scan, imgsz, 2, AugmentConfig(), workers=0, sampling=Sampling(rect_stride=rect_stride)
    ):
        for path, pixels in zip(batch.paths, batch.images.permute(0, 2, 3, 1).numpy(), strict=True):
            boxed, _, _ = letterbox(cv2.imread(path), pixels.shape[:2])
            difference = np.abs(pixels.astype(int) - boxed).max(2)
            assert (difference > 8).mean() < 0.02  # edges lie up to a pixel elsewhere: sides are rounded up
            assert np.median(difference) == 0


@pytest.mark.parametrize(("imgsz", "rect_stride"), [(320, 32), ((192, 320), None), ((320, 192), 32)])
def test_labels_frame_the_moved_object(scan, imgsz, rect_stride):
    loader, framed = build_train_loader(scan, imgsz, 3, MOVED, workers=0, sampling=Sampling(rect_stride=rect_stride)), 0
    for batch in [*epoch_of(loader, 0), *epoch_of(loader, 1)]:
        height, width = batch.images.shape[2:]
        for index, kind, *box in batch.targets.tolist():
            assert int(kind) == int(names(batch)[int(index)])
            bright = np.argwhere(batch.images[int(index), 0].numpy() > 145)
            centre, size = np.array(box[:2]) * (width, height), np.array(box[2:]) * (width, height)
            assert centre - size / 2 == pytest.approx(bright.min(0)[::-1], abs=1.6)
            assert centre + size / 2 == pytest.approx(bright.max(0)[::-1] + 1, abs=1.6)
            framed += 1
    assert framed > 10


def test_images_are_as_large_as_fits_height_and_width():
    shapes = np.array([(480, 640), (100, 400), (333, 500), (96, 160)])

    # 640 · 192 / 480 = 256; 100 · 320 / 400 = 80; 500 · 192 / 333 = 288.3
    assert nominal_sizes(shapes, (192, 320)).tolist() == [[256, 192], [320, 80], [289, 192], [320, 192]]


def test_rectangular_batches_stay_within_height_and_width(scan):
    batches = list(build_train_loader(scan, (192, 320), 2, AugmentConfig(), workers=0, sampling=RECT))

    shapes = {tuple(names(batch)): tuple(batch.images.shape[2:]) for batch in batches}
    assert shapes == {
        ("003", "005"): (192, 320),  # 0.5625 · 320 = 180 → 192
        ("000", "002"): (192, 256),  # the wider is 256×192
        ("001", "006"): (192, 160),  # 192 · 480 / 640 = 144 → 160
        ("004",): (192, 64),  # 192 · 0.3 = 57.6 → 64
    }


def test_validation_batches_for_height_and_width_leave_half_a_stride_of_border(scan):
    batches = list(build_val_loader(scan, (192, 320), 2, workers=0))

    assert [tuple(batch.images.shape[2:]) for batch in batches] == [  # 180 + 16 → 224, 320 + 16 → 352, 256 + 16 → 288
        (224, 352),
        (224, 288),
        (224, 160),  # 144 + 16
        (224, 96),  # 57.6 + 16 → 96
    ]
    square = list(build_val_loader(scan, (192, 320), 4, workers=0, rect=False))
    assert {tuple(batch.images.shape[2:]) for batch in square} == {(192, 320)}
