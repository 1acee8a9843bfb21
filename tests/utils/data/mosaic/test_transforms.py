"""Every registered transform keeps the contract; colours change as in the reference."""

import cv2
import numpy as np
import pytest

from utils.data.mosaic.augment import AugmentConfig
from utils.data.mosaic.transforms._contract import TRANSFORMS, Sample, build_transforms, transform_keys
from utils.data.mosaic.transforms.filters import Filters
from utils.data.mosaic.transforms.hsv import scale_hsv
from utils.errors import ConfigError
from utils.hyper import hyper_fields


@pytest.fixture(params=sorted(TRANSFORMS))
def transform(request):
    cls = TRANSFORMS.get(request.param)
    return cls(*(0.9 for _ in cls.keys))


def picture(seed=0, size=64):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_boxes_stay_inside_and_pixels_stay_an_image(transform):
    labels = np.array([[3, 0.1, 0.5, 0.2, 1.0], [0, 0.5, 0.5, 1.0, 1.0]])

    for seed in range(5):
        sample = transform(Sample(picture(), labels.copy()), np.random.default_rng(seed))
        low, high = sample.labels[:, 1:3] - sample.labels[:, 3:] / 2, sample.labels[:, 1:3] + sample.labels[:, 3:] / 2
        assert (low >= 0).all()
        assert (high <= 1).all()
        assert sample.image.shape[2] == 3
        assert sample.image.dtype == np.uint8


def test_a_picture_without_objects_survives(transform):
    assert transform(Sample(picture(), np.zeros((0, 5))), np.random.default_rng(0)).labels.shape == (0, 5)


def test_the_generator_alone_decides(transform):
    before = np.random.get_state()[1].copy()
    first = transform(Sample(picture(), np.zeros((0, 5))), np.random.default_rng(1)).image
    again = transform(Sample(picture(), np.zeros((0, 5))), np.random.default_rng(1)).image
    other = transform(Sample(picture(), np.zeros((0, 5))), np.random.default_rng(2)).image

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(before, np.random.get_state()[1])


def test_a_transform_is_built_when_one_of_its_values_is_not_zero():
    assert build_transforms({"hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0}) == []
    assert [type(item).__name__ for item in build_transforms({"hsv_s": 0.7, "clahe": 0.01})] == ["Filters", "Hsv"]


def test_hyper_parameters_reach_the_transforms():
    hyp = dict.fromkeys(("degrees", "translate", "scale", "shear", "perspective", "flipud", "fliplr"), 0.0)
    hyp |= {"mosaic": 1.0, "mixup": 0.0, "copy_paste": 0.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.4, "lr0": 0.01}

    augment = AugmentConfig.from_hyp(hyp | {"blur": 0.01})

    assert augment.mosaic == 1.0
    assert {"hsv_v": 0.4, "blur": 0.01}.items() <= augment.transform_values.items()
    assert "lr0" not in augment.transform_values
    assert {"hsv_h", "blur", "gray"} <= set(transform_keys())
    del hyp["mixup"]
    with pytest.raises(ConfigError, match="'mixup' is missing"):
        AugmentConfig.from_hyp(hyp)


def test_the_last_epochs_can_be_without_mosaics():
    hyp = dict.fromkeys(hyper_fields(AugmentConfig), 0.5) | {"close_mosaic": 2, "mosaic_pool": 2}

    augment = AugmentConfig.from_hyp(hyp, epochs=5)

    assert [augment.at(epoch).mosaic for epoch in range(5)] == [0.5, 0.5, 0.5, 0, 0]
    last = augment.at(4)
    assert (last.mixup, last.copy_paste, last.fliplr, last.scale) == (0, 0, 0.5, 0.5)
    assert AugmentConfig.from_hyp(hyp).at(4).mosaic == 0.5  # the number of epochs is not known


def test_hsv_equals_the_reference():
    image = (np.arange(48) * 5).astype(np.uint8).reshape(4, 4, 3)  # BGR
    factors = np.random.RandomState(0).uniform(-1, 1, 3) * (0.015, 0.7, 0.4) + 1
    rgb = np.ascontiguousarray(image[..., ::-1])

    scale_hsv(rgb, factors)

    expected = [0, 5, 10, 13, 20, 27, 29, 36, 43, 45, 52, 59]
    assert np.abs(rgb[..., ::-1].ravel()[:12].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("factors", [(1.0, 1.0, 1.0), (1.014, 1.65, 0.61), (0.9873, 0.3137, 1.3871), (1.9, 1.0, 1.0)])
def test_hsv_equals_tables_of_cut_products(factors):
    image = picture(size=100)
    levels = np.arange(256)
    tables = [levels * factors[0] % 180, np.clip(levels * factors[1], 0, 255), np.clip(levels * factors[2], 0, 255)]
    table = np.stack(tables, 1).astype(np.uint8)[None]
    expected = cv2.cvtColor(cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table), cv2.COLOR_HSV2RGB)

    scale_hsv(image, np.array(factors))

    difference = np.abs(image.astype(int) - expected)
    assert (difference > 0).mean() < 0.01
    assert difference.max() <= 2


def test_a_gray_picture_has_equal_channels():
    sample = Filters(0, 0, 1.0, 0)(Sample(picture(), np.zeros((0, 5))), np.random.default_rng(0))

    assert np.ptp(sample.image, axis=2).max() == 0


def test_local_contrast_spreads_a_flat_picture():
    flat = (picture() // 16 + 120).astype(np.uint8)

    sample = Filters(0, 0, 0, 1.0)(Sample(flat, np.zeros((0, 5))), np.random.default_rng(0))

    assert sample.image.std() > 1.3 * flat.std()


@pytest.mark.parametrize(
    ("values", "has_outlines", "said"),
    [
        ({"mosaic": 1.0, "copy_paste": 0.1, "close_mosaic": 4}, True, []),
        ({"mosaic": 1.0, "copy_paste": 0.1}, False, ["copy_paste: no label is a polygon, so nothing is copied"]),
        ({"mixup": 0.1, "copy_paste": 0.1}, True, ["mixup and copy_paste: only in mosaics, and mosaic is 0"]),
        ({"mosaic": 1.0, "close_mosaic": 10}, True, ["close_mosaic 10: none of the 5 epochs has mosaics"]),
        ({"close_mosaic": 10}, True, []),
    ],
)
def test_values_that_change_nothing_are_said(values, has_outlines, said):
    assert AugmentConfig(**values, epochs=5).idle(has_outlines) == said
