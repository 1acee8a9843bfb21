"""Images drawn by weight: the chances by hand, and the same batches in every process."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from utils.data.image_weights import ImageWeights, inverse_frequencies
from utils.data.loader import BatchLoader, build_train_loader
from utils.data.mosaic.augment import AugmentConfig
from utils.data.order import Sampling
from utils.errors import StorageError
from utils.pixels import RGB

MIDPOINTS = (np.arange(30_000) + 0.5) / 30_000  # of as many equal parts of [0, 1)


def rows(*classes):
    return np.array([[c, 0.5, 0.5, 0.2, 0.2] for c in classes], np.float32).reshape(-1, 5)


def chances(weights, images):
    """Return how often each image is drawn by numbers that are spread evenly."""
    return np.bincount(weights.draw(MIDPOINTS), minlength=images) / len(MIDPOINTS)


# classes 0, 1, 2 have 3, 1, 0 objects: inverse 1/3, 1, 1, sum 7/3, weights of mean 1: 3/7, 9/7, 9/7
LABELS = [rows(0, 0), rows(), rows(0, 1), rows()]


def test_class_weights_are_inverse_frequencies_of_mean_one():
    assert inverse_frequencies(np.array([3, 1, 0])) == pytest.approx([3 / 7, 9 / 7, 9 / 7])
    assert ImageWeights(LABELS, 3).class_weights == pytest.approx([3 / 7, 9 / 7, 9 / 7])


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        ([0, 0, 0], [6 / 18, 0, 12 / 18, 0]),  # image 0: 2 · 3/7, image 2: 3/7 + 9/7
        ([0, 0.5, 0.9], [6 / 11.25, 0, 5.25 / 11.25, 0]),  # class 1 counts a quarter: 3 + 9/4
        ([1, 0, 0], [0, 0, 1, 0]),
        ([1, 1, 0], [6 / 18, 0, 12 / 18, 0]),  # all that there is is perfect: as in the beginning
    ],
)
def test_an_image_has_the_chance_of_its_objects(maps, expected):
    weights = ImageWeights(LABELS, 3)

    weights.update(np.array(maps))

    assert chances(weights, 4) == pytest.approx(expected, abs=1e-4)
    assert weights.maps.tolist() == maps


def test_the_ends_of_the_numbers_draw_images_with_objects():
    weights = ImageWeights([rows(), rows(0), rows(), rows(0), rows()], 1)

    assert weights.draw(np.array([[0.0, 0.4999], [0.5, np.nextafter(1, 0)]])).tolist() == [[1, 1], [3, 3]]


def test_a_full_shared_memory_is_one_sentence(monkeypatch):
    def full(self):
        raise RuntimeError("unable to allocate shared memory(shm)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)

    with pytest.raises(StorageError, match="image weights need some"):
        ImageWeights(LABELS, 3)


@pytest.fixture
def scan(tmp_path):
    """Twelve grey images: number i is as bright as 20 i + 10; 0 … 9 show class 0, 10 shows class 1, 11 nothing."""
    paths = [str(tmp_path / f"{index:02}.png") for index in range(12)]
    for index, path in enumerate(paths):
        cv2.imwrite(path, np.full((64, 64, 3), 20 * index + 10, np.uint8))
    labels = [*[rows(0) for _ in range(10)], rows(1), rows()]
    segments = [[np.zeros((0, 2), np.float32) for _ in own] for own in labels]
    return SimpleNamespace(image_paths=paths, labels=labels, segments=segments, shapes=np.full((12, 2), 64), pixels=RGB)


def batches(scan, weights, mosaic=1.0, size=4):
    augment = AugmentConfig(mosaic=mosaic)
    return build_train_loader(scan, 64, size, augment, seed=3, workers=0, sampling=Sampling(weights=weights)).batches


def shown(loader):
    return [path for batch in loader for path in batch.paths]


def test_an_epoch_draws_as_many_images_as_there_are_with_replacement(scan):
    loader = BatchLoader(batches(scan, ImageWeights(scan.labels, 2), mosaic=0.0), 0)
    paths = []
    for epoch in range(50):
        loader.set_epoch(epoch)
        paths.append(shown(loader))

    assert {len(epoch) for epoch in paths} == {12}
    assert paths[0] != paths[1]
    counts = np.array([sum(path == own for epoch in paths for path in epoch) for own in scan.image_paths])
    assert counts[11] == 0
    assert 260 < counts[10] < 340  # half of 600, ± 3.2 standard deviations
    assert counts[:10].min() > 10


def test_partners_in_mosaics_are_drawn_by_the_same_weights(scan):
    weights = ImageWeights(scan.labels, 2)
    weights.update(np.array([1.0, 0.0]))  # only image 10 is left, as bright as 210
    drawn = batches(scan, weights)[0, 0]

    assert set(drawn.paths) == {scan.image_paths[10]}
    assert set(drawn.images.unique().tolist()) <= {114, 210}
    assert set(drawn.targets[:, 1].tolist()) == {1.0}


def test_a_batch_is_a_function_of_seed_epoch_number_and_weights(scan):
    weights = ImageWeights(scan.labels, 2)
    used, fresh = batches(scan, weights), batches(scan, weights)
    first = used[5, 2]
    weights.update(np.array([0.0, 0.9]))
    later = used[5, 2]
    weights.update(np.array([0.0, 0.0]))

    assert torch.equal(first.images, fresh[5, 2].images) and first.paths == fresh[5, 2].paths
    assert not torch.equal(first.images, later.images)


def test_workers_that_live_on_draw_by_the_weights_of_each_epoch(scan):
    weights = ImageWeights(scan.labels, 2)
    alone, helped = BatchLoader(batches(scan, weights), 0), BatchLoader(batches(scan, weights), 2)
    seen = []
    for epoch, maps in enumerate(([0.0, 0.0], [1.0, 0.0], [0.0, 1.0])):
        weights.update(np.array(maps))
        for loader in (alone, helped):
            loader.set_epoch(epoch)
        pairs = list(zip(alone, helped, strict=True))
        assert all(torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets) for a, b in pairs)
        seen.append({path for _, batch in pairs for path in batch.paths})

    assert seen[1] == {scan.image_paths[10]}
    assert scan.image_paths[10] not in seen[2] and len(seen[2]) > 1


def test_without_weights_the_order_is_what_it_was(scan):
    loader = BatchLoader(batches(scan, None), 0)

    assert sorted(shown(loader)) == scan.image_paths
