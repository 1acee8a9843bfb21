"""Four samples joined into a picture of twice their size."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from utils.data.batch import Batch, as_images, as_targets
from utils.data.loader import build_train_loader, join_samples
from utils.data.mosaic.augment import AugmentConfig
from utils.data.order import Sampling
from utils.data.quad import join_fours
from utils.pixels import RGB

H, W = 4, 6


def batch_of(count):
    """Return samples of one colour, 10 for the first, 20 for the second …; the class of their box is their number."""
    pixels = np.empty((count, H, W, 3), np.uint8)
    pixels[:] = 10 * np.arange(1, count + 1)[:, None, None, None]
    labels = [np.array([[index, 0.5, 0.25, 0.2, 0.4]]) for index in range(count)]
    return Batch(as_images(pixels), as_targets(labels), [f"{index}.jpg" for index in range(count)], None)


def test_four_samples_stand_in_two_columns():
    joined = join_fours(batch_of(4), np.array([False]))

    assert joined.images.shape == (1, 3, 2 * H, 2 * W)
    assert joined.images.is_contiguous(memory_format=torch.channels_last)
    left, right = np.repeat([[10], [20]], H, 0), np.repeat([[30], [40]], H, 0)
    expected = np.hstack([np.tile(left, W), np.tile(right, W)])
    assert joined.images[0, 1].tolist() == expected.tolist()
    assert joined.targets.numpy() == pytest.approx(
        np.array(
            [
                [0, 0, 0.25, 0.125, 0.1, 0.2],
                [0, 1, 0.25, 0.625, 0.1, 0.2],
                [0, 2, 0.75, 0.125, 0.1, 0.2],
                [0, 3, 0.75, 0.625, 0.1, 0.2],
            ]
        )
    )
    assert joined.paths == ["0.jpg"]


def test_or_the_first_of_them_is_enlarged_with_its_labels():
    batch = batch_of(8)
    joined = join_fours(batch, np.array([True, False]))

    assert joined.images[0].unique().tolist() == [10]
    assert joined.images[1].unique().tolist() == [50, 60, 70, 80]
    assert joined.targets[0].numpy() == pytest.approx([0, 0, 0.5, 0.25, 0.2, 0.4])
    assert joined.targets[1:, :2].tolist() == [[1, 4], [1, 5], [1, 6], [1, 7]]
    assert joined.paths == ["0.jpg", "4.jpg"]


def test_enlarging_is_bilinear_between_pixel_centres():
    batch = batch_of(4)
    batch.images[0, :, :, 1:] = 50  # column 0 stays at 10

    row = join_fours(batch, np.array([True])).images[0, 0, 0].tolist()

    assert row[:5] == [10, 20, 40, 50, 50]  # a quarter and three quarters of the way from 10 to 50


def test_the_rest_of_a_batch_takes_its_first_samples_again():
    joined = join_fours(batch_of(6), np.array([False, False]))

    assert joined.targets[:, :2].tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 4], [1, 5], [1, 0], [1, 1]]
    assert join_fours(batch_of(1), np.array([False])).images.unique().tolist() == [10]


@pytest.fixture
def scan(tmp_path):
    rng, paths = np.random.default_rng(0), []
    for number in range(22):
        paths.append(str(tmp_path / f"{number:02}.png"))
        cv2.imwrite(paths[-1], rng.integers(0, 255, (48, 64, 3), np.uint8))
    labels = [np.array([[0, 0.5, 0.5, 0.5, 0.5]], np.float32) for _ in paths]
    return SimpleNamespace(
        pixels=RGB, image_paths=paths, labels=labels, segments=[[] for _ in paths], shapes=np.array([(48, 64)] * 22)
    )


@pytest.mark.parametrize(("rect_stride", "shape"), [(None, (128, 128)), (16, (96, 128))])
def test_joined_batches_are_a_function_of_seed_epoch_and_number(scan, rect_stride, shape):
    def loader(workers, seed=0):
        augment = AugmentConfig(mosaic=1.0, scale=0.3)
        return join_samples(
            build_train_loader(scan, 64, 8, augment, workers=workers, sampling=Sampling(rect_stride=rect_stride)), seed
        )

    alone, helped, other = loader(0), loader(2), loader(0, seed=1)
    made = []
    for epoch in (3, 0):
        alone.set_epoch(epoch)
        helped.set_epoch(epoch)
        for first, second in zip(alone, helped, strict=True):
            assert torch.equal(first.images, second.images) and torch.equal(first.targets, second.targets)
            assert tuple(first.images.shape[2:]) == shape
            made.append(first)
    assert sorted(len(batch.images) for batch in made) == [2, 2, 2, 2, 2, 2]  # 22 = 8 + 8 + 6
    assert not all(torch.equal(alone.batches[0, number].images, other.batches[0, number].images) for number in range(3))


def test_half_of_the_pictures_are_enlarged_samples(scan):
    loader, counts = join_samples(build_train_loader(scan, 32, 4, AugmentConfig(), workers=0), 0), []
    for epoch in range(40):
        loader.set_epoch(epoch)
        counts += [len(batch.targets) for batch in loader]

    assert set(counts) == {1, 4}
    assert 0.4 < counts.count(1) / len(counts) < 0.6  # 240 pictures
