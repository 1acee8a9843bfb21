"""Mosaics and single pictures, against the plain way: resize, paste on a canvas of twice the size, warp, crop."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from utils.data.image_store import nominal_sizes
from utils.data.letterbox import letterbox
from utils.data.mosaic.augment import AugmentConfig
from utils.data.mosaic.composition import (
    CENTRE,
    DECISIONS,
    NUMBERS,
    ORDER,
    WARP,
    compose,
    number_count,
)
from utils.data.mosaic.copy_paste import Copies
from utils.data.mosaic.drawing import Painter, plan_drawing
from utils.data.mosaic.perspective import warp_ranges
from utils.data.mosaic.ragged import Ragged
from utils.data.mosaic.tiles import nine_layout, partners, place_objects
from utils.data.mosaic.warp_paint import paint, plan_strokes
from utils.data.train_batches import picture_labels

SIDE = 320
SHAPES = [(240, 320), (320, 213), (150, 200), (320, 320), (100, 300), (320, 240)]  # (h, w), none above SIDE


def smooth_image(shape, rng):
    noise = cv2.GaussianBlur(rng.integers(0, 256, (*shape, 3), dtype=np.uint8), (0, 0), 6)
    return cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = [
        np.concatenate([np.arange(5)[:, None], rng.uniform(0.2, 0.8, (5, 2)), rng.uniform(0.02, 0.4, (5, 2))], 1)
        for _ in SHAPES
    ]
    return [smooth_image(shape, rng) for shape in SHAPES], labels


def plan(data, augment, numbers, own, shape=(SIDE, SIDE)):
    """Compose samples from ``numbers`` with images own, own + 1, … and return the composition and its drawing."""
    shapes = np.array([image.shape[:2] for image in data[0]])
    mosaics = (np.asarray(own)[:, None] + np.arange(4)) % len(shapes)
    every = np.arange(len(shapes))
    composition = compose(np.asarray(own), mosaics, every, nominal_sizes(shapes, shape), augment, shape, numbers)
    return composition, plan_drawing(composition, Copies.none(), shapes[:, ::-1])


def ours(data, augment, numbers, own, shape=(SIDE, SIDE)):
    """Return pixels (B, h, w, 3) and labels; of two mixed pictures the first has a quarter."""
    composition, drawing = plan(data, augment, numbers, own, shape)
    objects = place_objects(composition.layout, Ragged.join(data[1], 5), None)
    pixels = Painter().paint(drawing, composition.sample, np.full(len(own), 0.25), data[0].__getitem__)
    return pixels, picture_labels(composition, objects)


def plain_matrix(draws, shape):
    perspective_x, perspective_y, degrees, scale, shear_x, shear_y, move_x, move_y = draws
    rotation = np.eye(3)
    rotation[:2] = cv2.getRotationMatrix2D((0, 0), degrees, scale)
    shear = np.eye(3)
    shear[0, 1], shear[1, 0] = math.tan(math.radians(shear_x)), math.tan(math.radians(shear_y))
    perspective = np.array([[1, 0, 0], [0, 1, 0], [perspective_x, perspective_y, 1]])
    centre = np.array([[1, 0, -shape[1]], [0, 1, -shape[0]], [0, 0, 1]])
    move = np.array([[1, 0, move_x * shape[1]], [0, 1, move_y * shape[0]], [0, 0, 1]])
    return move @ shear @ rotation @ perspective @ centre


def plain_mosaic(images, labels, centre, shape):
    """Return a canvas with four images around ``centre``, and [class, xyxy] of their labels on it."""
    high, wide = 2 * shape[0], 2 * shape[1]
    canvas, found = np.full((high, wide, 3), 114, np.uint8), []
    for tile, (image, rows) in enumerate(zip(images, labels, strict=True)):
        ratio = min(shape[0] / image.shape[0], shape[1] / image.shape[1])
        height, width = (math.ceil(round(side * ratio, 6)) for side in image.shape[:2])
        image = cv2.resize(image, (width, height))
        left = centre[0] - width if tile in (0, 2) else centre[0]
        top = centre[1] - height if tile in (0, 1) else centre[1]
        x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + width, wide), min(top + height, high)
        canvas[y1:y2, x1:x2] = image[y1 - top : y2 - top, x1 - left : x2 - left]
        for kind, cx, cy, w, h in rows:
            box = [(cx - w / 2) * width + left, (cy - h / 2) * height + top]
            box += [(cx + w / 2) * width + left, (cy + h / 2) * height + top]
            found.append(
                [kind, *(min(max(value, 0), limit) for value, limit in zip(box, (wide, high) * 2, strict=True))]
            )
    return canvas, found


def plain_warp(canvas, found, draws, shape):
    """Return the warped picture and the labels [class, xyxy] that survive."""
    matrix = plain_matrix(draws, shape)
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    indices = np.linalg.inv(half) @ matrix @ half  # pixel centres lie at + 0.5
    picture = cv2.warpPerspective(canvas, indices, shape[::-1], borderValue=(114, 114, 114))
    kept = []
    for kind, x1, y1, x2, y2 in found:
        corners = np.array([[x1, y1, 1], [x2, y1, 1], [x2, y2, 1], [x1, y2, 1]]) @ matrix.T
        xy = (corners[:, :2] / corners[:, 2:]).clip(0, shape[::-1])
        w, h = np.ptp(xy, 0)
        area = (x2 - x1) * (y2 - y1) * draws[3] ** 2
        if w > 2 and h > 2 and w * h / area > 0.1 and max(w / h, h / w) < 100:
            kept.append([kind, *xy.min(0), *xy.max(0)])
    return picture, kept


WARPS = {
    "upright": AugmentConfig(translate=0.1, scale=0.45, mosaic=1.0),
    "rotated": AugmentConfig(degrees=30, translate=0.1, scale=0.3, shear=10, mosaic=1.0),
    "perspective": AugmentConfig(degrees=5, translate=0.1, scale=0.3, perspective=0.0006, mosaic=1.0),
}


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (192, 320), (320, 256)])
@pytest.mark.parametrize("kind", WARPS)
def test_mosaics_equal_those_made_on_a_large_canvas(data, kind, shape):
    augment = WARPS[kind]
    numbers = np.random.default_rng(1).random((8, NUMBERS))
    low, high = warp_ranges(augment.degrees, augment.translate, augment.scale, augment.shear, augment.perspective)
    own = np.arange(8) % len(SHAPES)

    data = [shrunk(image, shape) for image in data[0]], data[1]

    pixels, labels = ours(data, augment, numbers, own, shape)

    for sample in range(len(own)):
        table = numbers[sample, len(DECISIONS) : len(DECISIONS) + WARP.stop]
        members = (own[sample] + np.argsort(table[ORDER])) % len(SHAPES)
        centre = [int(side / 2 + side * value) for side, value in zip(shape[::-1], table[CENTRE], strict=True)]
        canvas, found = plain_mosaic([data[0][i] for i in members], [data[1][i] for i in members], centre, shape)
        picture, kept = plain_warp(canvas, found, low + (high - low) * table[WARP], shape)
        difference = np.abs(picture.astype(int) - pixels[sample]).max(2)
        assert difference.mean() < 1.3  # a pixel aside it is above 2
        assert (difference > 8).mean() < 0.01  # seams
        assert len(labels[sample]) == len(kept)
        assert pixel_boxes(labels[sample], shape) == pytest.approx(
            np.array(kept).reshape(-1, 5), abs=2e-3
        )  # clipped by 1e-3


def shrunk(image, shape):
    """Return an image as it is stored for pictures of ``shape``: smaller where it would not fit."""
    ratio = min(shape[0] / image.shape[0], shape[1] / image.shape[1], 1)
    return cv2.resize(image, [math.ceil(round(side * ratio, 6)) for side in image.shape[1::-1]])


def plain_nine(images, labels, window, shape):
    """Return what of a canvas of three times the size begins at ``window``, and [class, xyxy] of its labels."""
    high, wide = shape
    (w0, h0), (w1, h1), (_, h2), (_, h3), _, (w5, _), (w6, _), (w7, h7), (w8, h8) = (im.shape[1::-1] for im in images)
    right, below = wide + w0, high + h0  # edges of image 0
    corners = [(wide, high), (wide, high - h1), (wide + w1, high - h2), (right, high), (right, high + h3)]
    corners += [(right - w5, below), (right - w5 - w6, below), (wide - w7, below - h7), (wide - w8, below - h7 - h8)]
    border = 2 * max(shape)  # tiles may reach out of the canvas
    canvas, found = np.full((3 * high + 2 * border, 3 * wide + 2 * border, 3), 114, np.uint8), []
    for image, rows, (left, top) in zip(images, labels, corners, strict=True):
        height, width = image.shape[:2]
        canvas[top + border : top + border + height, left + border : left + border + width] = image
        for kind, cx, cy, bw, bh in rows:
            box = [(cx - bw / 2) * width + left - window[0], (cy - bh / 2) * height + top - window[1]]
            box += [box[0] + bw * width, box[1] + bh * height]
            limits = (2 * wide, 2 * high) * 2
            found.append([kind, *(min(max(value, 0), limit) for value, limit in zip(box, limits, strict=True))])
    x, y = window[0] + border, window[1] + border
    return canvas[y : y + 2 * high, x : x + 2 * wide], found


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (192, 320)])
@pytest.mark.parametrize("kind", WARPS)
def test_mosaics_of_nine_equal_those_made_on_a_canvas_of_three_times_the_size(data, kind, shape):
    augment = replace(WARPS[kind], mosaic9=1.0)
    numbers = np.random.default_rng(1).random((8, number_count(augment)))
    low, high = warp_ranges(augment.degrees, augment.translate, augment.scale, augment.shear, augment.perspective)
    own = np.arange(8) % len(SHAPES)
    ratios = [min(shape[0] / height, shape[1] / width) for height, width in SHAPES]
    sizes = [[math.ceil(round(side * r, 6)) for side in (w, h)] for (h, w), r in zip(SHAPES, ratios, strict=True)]
    data = [cv2.resize(image, size) for image, size in zip(data[0], sizes, strict=True)], data[1]

    pixels, labels = ours(data, augment, numbers, own, shape)

    for sample in range(len(own)):
        table = numbers[sample, len(DECISIONS) : len(DECISIONS) + WARP.stop]
        around = np.floor(numbers[sample, NUMBERS:][1:9] * len(SHAPES)).astype(int)
        members = [own[sample], *around]
        window = [int(side * value) for side, value in zip(shape[::-1], table[CENTRE], strict=True)]
        canvas, found = plain_nine([data[0][i] for i in members], [data[1][i] for i in members], window, shape)
        picture, kept = plain_warp(canvas, found, low + (high - low) * table[WARP], shape)
        difference = np.abs(picture.astype(int) - pixels[sample]).max(2)
        assert difference.mean() < 1.3
        assert (difference > 8).mean() < 0.015  # seams
        assert len(labels[sample]) == len(kept)
        assert pixel_boxes(labels[sample], shape) == pytest.approx(np.array(kept).reshape(-1, 5), abs=2e-3)


def test_the_images_of_a_mosaic_of_nine_touch_each_other():
    sizes = np.array([[60, 50], [30, 20], [40, 25], [35, 45], [20, 30], [25, 35], [45, 15], [55, 40], [50, 10]])

    layout = nine_layout(np.arange(9)[None], sizes[None], np.array([[10, 20]]), (80, 100))

    assert layout.origin.tolist() == [  # image 0 at the corner of a picture, 100, 80, less the window's 10, 20
        [90, 60],
        [90, 40],  # 60 - 20
        [120, 35],  # 90 + 30, 60 - 25
        [150, 60],  # 90 + 60
        [150, 105],  # 60 + 45
        [125, 110],  # 150 - 25, 60 + 50
        [80, 110],  # 125 - 45
        [35, 70],  # 90 - 55, 110 - 40
        [40, 60],  # 90 - 50, 70 - 10
    ]
    assert layout.canvas.tolist() == [[200, 160]]


def test_a_share_of_the_mosaics_has_nine_images_and_the_others_stay(data):
    four = AugmentConfig(translate=0.1, mosaic=0.7, mixup=0.5)
    nine = replace(four, mosaic9=0.4)
    numbers = np.random.default_rng(5).random((60, number_count(nine)))
    own = np.arange(60) % len(SHAPES)

    plain, _ = plan(data, four, numbers[:, :NUMBERS], own)
    mixed, _ = plan(data, nine, numbers, own)

    before, after = np.bincount(plain.layout.picture), np.bincount(mixed.layout.picture)
    assert np.array_equal(plain.sample, mixed.sample)
    extra = numbers[:, NUMBERS:].reshape(60, 2, 9)
    is_nine = np.concatenate([extra[:, 0, 0], extra[mixed.sample[60:], 1, 0]]) < 0.4
    assert after.tolist() == np.where(before == 1, 1, np.where(is_nine, 9, 4)).tolist()
    assert {1, 4, 9} == set(after[:60].tolist()) and {4, 9} == set(after[60:].tolist())
    same = np.flatnonzero(after == before)
    for values in ("image", "origin", "size"):
        left = getattr(plain.layout, values)[np.isin(plain.layout.picture, same)]
        assert np.array_equal(left, getattr(mixed.layout, values)[np.isin(mixed.layout.picture, same)])


def pixel_boxes(labels, shape):
    size = np.array(shape[::-1])
    centre, half = labels[:, 1:3] * size, labels[:, 3:5] * size / 2
    return np.concatenate([labels[:, :1], centre - half, centre + half], 1)


def test_a_single_picture_without_augmentation_is_letterboxed(data):
    pixels, labels = ours(data, AugmentConfig(), np.random.default_rng(0).random((6, NUMBERS)), range(6))

    for image, rows, picture, found in zip(*data, pixels, labels, strict=True):
        boxed, ratio, pad = letterbox(image, SIDE)
        assert np.abs(picture.astype(int) - boxed).max() <= 2
        centre = rows[:, 1:3] * image.shape[1::-1] * ratio + pad
        inside = (np.abs(rows[:, 1:3] - 0.5) + rows[:, 3:5] / 2 < 0.5).all(1)
        assert len(found) == len(rows)
        assert found[inside, 1:3] * SIDE == pytest.approx(centre[inside], abs=0.6)  # sides are rounded up to pixels


def test_flipping_mirrors_pixels_and_labels(data):
    numbers = np.random.default_rng(2).random((4, NUMBERS))
    upright, labels = ours(data, AugmentConfig(scale=0.4, mosaic=1.0), numbers, range(4))
    flipped, mirrored = ours(data, AugmentConfig(scale=0.4, mosaic=1.0, fliplr=1.0, flipud=1.0), numbers, range(4))

    difference = np.abs(flipped.astype(int) - upright[:, ::-1, ::-1])
    assert difference.mean() < 0.2
    for before, after in zip(labels, mirrored, strict=True):
        assert np.array_equal(before[:, [0, 3, 4]], after[:, [0, 3, 4]])
        assert 1 - before[:, 1:3] == pytest.approx(after[:, 1:3])


def test_mixup_blends_two_mosaics_and_keeps_the_labels_of_both(data):
    numbers = np.random.default_rng(3).random((2, NUMBERS))
    augment = {"translate": 0.1, "scale": 0.4, "mosaic": 1.0}

    plain, labels = ours(data, AugmentConfig(**augment), numbers, [0, 1])
    mixed, both = ours(data, AugmentConfig(**augment, mixup=1.0), numbers, [0, 1])

    _, drawing = plan(data, AugmentConfig(**augment, mixup=1.0), numbers, [0, 1])
    apart = Painter().paint(drawing, np.arange(4), np.ones(4), data[0].__getitem__)
    assert np.array_equal(apart[:2], plain)
    assert np.array_equal(mixed, np.floor(0.25 * apart[:2] + 0.75 * apart[2:]))
    for alone, together in zip(labels, both, strict=True):
        assert np.array_equal(together[: len(alone)], alone)
        assert len(together) > len(alone)


@pytest.mark.parametrize("pool", [1, 2, 3, 4])
def test_the_pool_bounds_the_images_that_are_read_and_none_is_twice_in_a_mosaic(pool):
    own = np.arange(8) * 1000

    chosen, entries = partners(own, 1_000_000, pool, np.random.default_rng(0))

    assert np.array_equal(chosen[:, 0], own)
    assert len(entries) == len(set(chosen.ravel().tolist())) == 8 * pool
    assert all(len(set(row)) == 4 for row in chosen.tolist())


def test_a_pool_of_two_shows_every_image_equally_often():
    chosen, _ = partners(np.arange(16), 1_000_000, 2, np.random.default_rng(0))

    assert set(np.unique(chosen, return_counts=True)[1]) == {2}


def test_small_batches_read_as_much_as_independent_draws():
    chosen, _ = partners(np.array([7]), 1_000_000, 2, np.random.default_rng(0))

    assert len(set(chosen.ravel().tolist())) == 4


def test_mosaic_centres_fill_the_middle_half_of_the_canvas(data):
    numbers = np.random.default_rng(0).random((2, NUMBERS))
    numbers[:, len(DECISIONS) : len(DECISIONS) + 2] = [[0, 0], [1 - 1e-9, 1 - 1e-9]]
    sizes = nominal_sizes(np.array(SHAPES), SIDE)

    composition = compose(
        np.arange(2), np.arange(8).reshape(2, 4) % 6, np.arange(6), sizes, WARPS["upright"], (SIDE, SIDE), numbers
    )

    top_left = composition.layout.origin[[0, 4]] + composition.layout.size[[0, 4]]
    assert top_left.tolist() == [[160, 160], [479, 479]]


def test_strong_shrinking_averages_instead_of_skipping_pixels():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    matrix = np.diag([0.25, 0.25, 1.0])[None]
    picture = np.zeros((16, 16, 4), np.uint8)

    paint(picture, stripes, plan_strokes(matrix, np.array([[0, 0, 64, 64.0]]), (16, 16)), 0)

    assert np.abs(picture[..., :3].astype(int) - 100).max() <= 1


def test_an_image_behind_the_horizon_does_not_break_the_picture():
    matrix = np.array([[[1, 0, 0], [0, 1, 0], [-0.02, 0, 1.0]]])
    picture = np.full((64, 64, 4), 114, np.uint8)

    paint(picture, np.zeros((64, 64, 3), np.uint8), plan_strokes(matrix, np.array([[0, 0, 64, 64.0]]), (64, 64)), 0)

    assert (picture[:, 0, :3] == 0).all()


@pytest.mark.parametrize("height", [1, 2, 3, 4])
def test_a_sliver_of_a_rotated_image_is_painted(height):
    matrix = np.array([[[1, 1e-4, 2], [-1e-4, 1, 3], [0, 0, 1.0]]])
    picture = np.full((16, 16, 4), 114, np.uint8)

    paint(picture, np.zeros((height, 1, 3), np.uint8), plan_strokes(matrix, np.array([[0, 0, 1, height]]), (16, 16)), 0)

    assert np.argwhere(picture[..., 0] == 0).tolist() == [[3 + row, 2] for row in range(height)]
