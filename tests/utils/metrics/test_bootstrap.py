"""The bootstrap is exactly what evaluating each resample, image by image, would give."""

import numpy as np
import pytest

from utils.metrics import bootstrap
from utils.metrics.average_precision import ap_per_class
from utils.metrics.bootstrap import JudgedImage, bootstrap_interval, bootstrap_maps, resample

CLASSES = 3


def random_image(rng, with_ignored):
    """An image in which no class has more correct detections than labels."""
    n, labelled = rng.integers(0, 30), rng.integers(0, CLASSES, rng.integers(0, 8))
    predicted = rng.integers(0, CLASSES + 1, n)
    correct = np.sort(rng.random((n, 10)) < 0.4, axis=1)[:, ::-1].copy()
    for class_id in range(CLASSES + 1):
        for level in range(10):
            hits = np.flatnonzero(correct[:, level] & (predicted == class_id))
            correct[hits[(labelled == class_id).sum() :], level] = False
    ignored = (rng.random((n, 10)) < 0.2) & ~correct & with_ignored
    confidence = (rng.random(n) + correct[:, 0]) / 2  # of a detector that knows something
    return JudgedImage(correct, confidence, predicted, labelled, ignored)


def by_hand(images, weights):
    repeated = [image for image, times in zip(images, weights, strict=True) for _ in range(times)]
    metrics = ap_per_class(*(np.concatenate(column) for column in zip(*repeated, strict=True)))
    return metrics.map50, metrics.map


@pytest.mark.parametrize("with_ignored", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_each_resample_has_the_map_of_a_data_set_of_its_images(monkeypatch, seed, with_ignored):
    monkeypatch.setattr(bootstrap, "ROOM", 200)  # several chunks
    rng = np.random.default_rng(seed)
    images = [random_image(rng, with_ignored) for _ in range(rng.integers(1, 15))]
    weights = np.concatenate((np.ones((1, len(images)), np.int32), resample(len(images), 20, seed)))

    found = bootstrap_maps(images, weights)

    np.testing.assert_allclose(found, [by_hand(images, row) for row in weights], atol=1e-12)


def test_a_resample_has_as_many_images_and_a_seed_repeats_it():
    draws = resample(7, 50, seed=1)

    assert (draws.sum(axis=1) == 7).all()
    np.testing.assert_array_equal(draws, resample(7, 50, seed=1))
    assert (draws != resample(7, 50, seed=2)).any()


def test_the_interval_holds_the_map_of_the_source_of_the_images_nearly_always():
    rng = np.random.default_rng(0)
    source = [random_image(rng, False) for _ in range(300)]
    truth, _ = by_hand(source, np.ones(len(source), int))
    limits = [
        bootstrap_interval([source[index] for index in rng.integers(0, len(source), 60)], 100, seed=trial).map50
        for trial in range(20)
    ]

    assert sum(low <= truth <= high for low, high in limits) >= 17
    assert np.mean([high - low for low, high in limits]) < 0.3


def test_no_image_no_label_and_no_detection_are_zero():
    empty = JudgedImage(*np.zeros((1, 0, 10), bool), *np.zeros((3, 0)), np.zeros((0, 10), bool))
    lonely = empty._replace(labelled=np.zeros(2))

    for images in ([], [empty], [lonely]):
        assert bootstrap_interval(images, 10).map == (0, 0)
