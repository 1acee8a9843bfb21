"""The mosaics of a batch: images column by column, with their own boxes."""

import cv2
import numpy as np
import torch

from utils.plots import batches
from utils.plots.batches import plot_batch, plot_detections

NAMES = {0: "cat", 1: "dog"}


def flat_images(count, height, width):
    """Images of one grey level each: 20, 40, 60 …"""
    levels = torch.arange(1, count + 1, dtype=torch.uint8) * 20
    return levels.view(-1, 1, 1, 1).expand(count, 3, height, width)


def mosaic_of(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(int)


def test_images_fill_a_square_grid_column_by_column(tmp_path):
    plot_batch(flat_images(3, 256, 416), torch.zeros(0, 6), tmp_path / "b.png", paths=["a"] * 3, names=NAMES)

    mosaic = mosaic_of(tmp_path / "b.png")
    assert mosaic.shape == (512, 832, 3)
    centres = [mosaic[y, x, 0] for y, x in [(128, 208), (384, 208), (128, 624), (384, 624)]]
    assert centres == [20, 40, 60, 255]


def test_at_most_sixteen_images_are_drawn_within_1920_pixels(tmp_path):
    images = torch.full((20, 3, 640, 480), 9, dtype=torch.uint8)

    plot_batch(images, torch.zeros(0, 6), tmp_path / "b.jpg", paths=["a"] * 20, names=NAMES)

    assert mosaic_of(tmp_path / "b.jpg").shape == (1920, 1440, 3)


def test_targets_are_drawn_on_their_own_image(tmp_path):
    targets = torch.tensor([[1, 0, 0.5, 0.5, 0.5, 0.25]])  # in a 400 × 200 image: x 100–300, y 75–125

    plot_batch(flat_images(2, 200, 400), targets, tmp_path / "b.png", paths=["a", "b"], names=NAMES)

    mosaic = mosaic_of(tmp_path / "b.png")
    assert mosaic[200 + 125, 200].tolist() == [0x04, 0x2A, 0xFF]
    assert mosaic[200 + 100, 100].tolist() == [0x04, 0x2A, 0xFF]
    assert (mosaic[30:195, 10:390] == 20).all()


def test_small_images_are_enlarged_with_their_boxes(tmp_path):
    targets = torch.tensor([[0, 0, 0.5, 0.5, 0.5, 0.5]])

    plot_batch(flat_images(1, 50, 100), targets, tmp_path / "b.png", paths=["a"], names=NAMES)

    mosaic = mosaic_of(tmp_path / "b.png")
    assert mosaic.shape == (200, 400, 3)
    assert mosaic[150, 200].tolist() == mosaic[100, 100].tolist() == [0x04, 0x2A, 0xFF]


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


def test_the_file_is_named_with_its_folder_in_forty_characters(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(batches, "draw_label_", lambda canvas, x, y, text, *_, **__: seen.append(text))
    paths = ["/d/cam_a/1.jpg", "/d/cam_b/1.jpg", "/d/" + "n" * 60]

    plot_batch(flat_images(3, 64, 64), torch.zeros(0, 6), tmp_path / "b.png", paths=paths, names=NAMES)

    assert seen == ["cam_a/1.jpg", "cam_b/1.jpg", "d/" + "n" * 24 + "…" + "n" * 13]
    assert np.array_equal(mosaic_of(tmp_path / "b.png")[32, 32], [20, 20, 20])
