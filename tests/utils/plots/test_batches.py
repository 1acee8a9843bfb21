"""The mosaics of a batch: every image under its name, with its own boxes, no place empty."""

import cv2
import pytest
import torch

from utils.plots import batches
from utils.plots.annotate import PALETTE
from utils.plots.batches import _rows, plot_batch, plot_detections

NAMES = {0: "cat", 1: "dog"}


def flat_images(count, height, width):
    """Images of one grey level each: 20, 40, 60 …"""
    levels = torch.arange(1, count + 1, dtype=torch.uint8) * 20
    return levels.view(-1, 1, 1, 1).expand(count, 3, height, width)


def mosaic_of(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(int)


@pytest.mark.parametrize("count", range(1, 17))
def test_images_fill_a_grid_without_an_empty_place(tmp_path, count):
    images = torch.full((count, 3, 64, 96), 20, dtype=torch.uint8)

    plot_batch(images, torch.zeros(0, 6), tmp_path / "b.png", paths=["a"] * count, names=NAMES)

    mosaic = mosaic_of(tmp_path / "b.png")
    grey = (mosaic == 20).all(axis=-1)
    assert max(mosaic.shape) <= 1920
    assert grey.any(axis=0).mean() > 0.95, "no column of pixels without a picture"
    rows = int(count**0.5)
    assert grey.mean() > 0.99 - 25 * rows / len(mosaic) - 0.05, "all but the captions and the edges"
    assert 0.3 < mosaic.shape[0] / mosaic.shape[1] < 1.5 or count < 4


def test_images_stand_row_by_row_under_their_captions(tmp_path):
    plot_batch(flat_images(5, 300, 400), torch.zeros(0, 6), tmp_path / "b.png", paths=["a"] * 5, names=NAMES)

    mosaic = mosaic_of(tmp_path / "b.png")  # three of 400 × 300 in the first row, two of 600 × 450 in the second
    assert mosaic.shape == (20 + 300 + 20 + 450, 1200, 3)
    first = [mosaic[20 + 150, x, 0] for x in (200, 600, 1000)]
    second = [mosaic[340 + 225, x, 0] for x in (300, 900)]
    assert first + second == [20, 40, 60, 80, 100]
    assert (mosaic[:2] == 255).all() and (mosaic[2:20] < 128).any()


def test_at_most_sixteen_images_are_drawn_within_1920_pixels(tmp_path):
    images = torch.full((20, 3, 640, 480), 9, dtype=torch.uint8)

    plot_batch(images, torch.zeros(0, 6), tmp_path / "b.jpg", paths=["a"] * 20, names=NAMES)

    height, width = mosaic_of(tmp_path / "b.jpg").shape[:2]
    assert 1900 < height <= 1920
    assert width == pytest.approx((height - 80) * 3 / 4, abs=8)


def test_targets_are_drawn_on_their_own_image(tmp_path):
    targets = torch.tensor([[1, 0, 0.5, 0.5, 0.5, 0.25]])  # in a 400 × 200 image: x 100–300, y 75–125

    plot_batch(flat_images(2, 200, 400), targets, tmp_path / "b.png", paths=["a", "b"], names=NAMES)

    mosaic = mosaic_of(tmp_path / "b.png")[20:]
    assert mosaic[125, 400 + 200].tolist() == list(PALETTE[0])
    assert mosaic[100, 400 + 100].tolist() == list(PALETTE[0])
    assert (mosaic[5:195, 10:390] == 20).all()


def test_small_images_are_enlarged_with_their_boxes(tmp_path):
    targets = torch.tensor([[0, 0, 0.5, 0.5, 0.5, 0.5]])

    plot_batch(flat_images(1, 50, 100), targets, tmp_path / "b.png", paths=["a"], names=NAMES)

    mosaic = mosaic_of(tmp_path / "b.png")
    assert mosaic.shape == (220, 400, 3)
    assert mosaic[170, 200].tolist() == mosaic[120, 100].tolist() == list(PALETTE[0])


def test_doubtful_detections_are_left_out(tmp_path, monkeypatch):
    texts = []
    monkeypatch.setattr(batches, "draw_boxes", lambda image, boxes, t, *_, **__: texts.append(t) or image.copy())
    found = torch.tensor([[10, 10, 50, 50, 0.875, 1], [10, 10, 50, 50, 0.25, 0], [10, 10, 50, 50, 0.1, 0]])

    plot_detections(flat_images(1, 64, 64), [found], tmp_path / "b.png", paths=["a"], names=NAMES)

    assert texts == [["dog 0.9"]]


def test_the_batch_is_not_changed(tmp_path):
    images = flat_images(1, 64, 64).contiguous(memory_format=torch.channels_last)
    before = images.clone()

    plot_batch(images, torch.tensor([[0, 1, 0.5, 0.5, 0.9, 0.9]]), tmp_path / "b.jpg", paths=["a"], names=NAMES)

    assert torch.equal(images, before)


def test_a_caption_is_the_file_with_its_folder_and_what_is_missing(tmp_path, monkeypatch):
    seen = []
    image = batches.text_image
    monkeypatch.setattr(batches, "text_image", lambda text, *args: seen.append(text) or image(text, *args))
    paths = ["/d/cam_a/1.jpg", "/d/cam_b/1.jpg", "/d/" + "n" * 60]
    found = [torch.tensor([[1.0, 1, 9, 9, 0.9, 0]]), torch.zeros(0, 6), torch.zeros(0, 6)]

    plot_batch(flat_images(3, 64, 64), torch.zeros(0, 6), tmp_path / "b.png", paths=paths, names=NAMES)
    plot_detections(flat_images(3, 64, 64), found, tmp_path / "b.png", paths=paths, names=NAMES)

    long = "d/" + "n" * 24 + "…" + "n" * 13
    assert seen == [
        *("cam_a/1.jpg: no labels", "cam_b/1.jpg: no labels", f"{long}: no labels"),
        *("cam_a/1.jpg", "cam_b/1.jpg: no detections", f"{long}: no detections"),
    ]


@pytest.mark.parametrize(("count", "rows"), [(2, [2]), (4, [2, 2]), (6, [4, 2]), (10, [4, 4, 2]), (16, [4, 4, 4, 4])])
def test_groups_stay_in_one_row(count, rows):
    assert _rows(count, 2) == rows
