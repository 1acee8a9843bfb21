"""The list ``transforms`` of a hyper-parameter file: each transform does its work, in order, with seed and boxes."""

import importlib.metadata
import pickle
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from utils.data.loader import BatchLoader, build_train_loader
from utils.data.mosaic.augment import AugmentConfig
from utils.data.mosaic.transforms._contract import LISTED, Sample
from utils.data.mosaic.transforms._listed import build_listed
from utils.data.order import Sampling
from utils.errors import ConfigError
from utils.losses import LOSSES
from utils.pixels import RGB, PixelFormat
from utils.runs import ROOT
from utils.training.hyp import load_hyp
from utils.yaml_file import read_yaml, write_yaml

LOSS = LOSSES.get("Detect")
LOW = ROOT / "data/hyps/hyp.scratch-low.yaml"
MIXED = [{"hsv": {"h": 0.015, "s": 0.7, "v": 0.4}}, {"fliplr": 0.5}, {"blur": {"p": 0.5}}]
HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope="module")
def package():
    assert find_spec("albumentations") or pytest.skip("pip install albumentations==2.0.8")
    build_listed([{"albumentations.HorizontalFlip": 1.0}], "hyp.yaml", shape=(32, 32))
    return sys.modules["albumentations"]


def picture(pixels=RGB, shape=(HEIGHT, WIDTH), seed=0):
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, np.iinfo(pixels.dtype).max, (*shape, pixels.channels), pixels.dtype)
    return cv2.GaussianBlur(noise, (0, 0), 2).reshape(noise.shape)


def apply(entries, image, labels=((3, 0.25, 0.5, 0.3, 0.4),), seed=0):
    sample = Sample(image.copy(), np.array(labels, float).reshape(-1, 5))
    rng = np.random.default_rng(seed)
    for step in build_listed(entries, "hyp.yaml", shape=image.shape[:2]):
        sample = step(sample, rng)
    return sample


def test_flips_move_picture_and_boxes():
    image = picture()

    both = apply([{"fliplr": 1.0}, {"flipud": {"p": 1.0}}], image, [(3, 0.25, 0.4, 0.3, 0.4)])

    assert np.array_equal(both.image, image[::-1, ::-1])
    assert both.labels[0] == pytest.approx([3, 0.75, 0.6, 0.3, 0.4])
    assert np.array_equal(apply([{"fliplr": 0}], image).image, image)


def test_each_step_changes_what_it_is_for():
    image = picture()
    edges = np.abs(np.diff(image.astype(int), axis=1)).mean()

    assert np.array_equal(apply([{"bgr": 1}], image).image, image[..., ::-1])
    assert np.ptp(apply([{"gray": 1}], image).image, axis=2).max() == 0
    assert apply([{"clahe": 1}], image).image.std() > 1.1 * image.std()
    for name in ("blur", "median_blur"):
        assert np.abs(np.diff(apply([{name: 1}], image).image.astype(int), axis=1)).mean() < edges
    darker = [apply([{"hsv": {"v": 0.9}}], image, seed=seed).image.mean() / image.mean() for seed in range(20)]
    assert min(darker) < 0.5
    assert set(LISTED) == {"bgr", "gray", "clahe", "blur", "median_blur", "hsv", "fliplr", "flipud"}


def test_they_come_in_the_order_of_the_list():
    image = picture()

    gray_last, gray_first = (
        apply(entries, image).image for entries in ([{"clahe": 1}, {"gray": 1}], [{"gray": 1}, {"clahe": 1}])
    )

    assert not np.array_equal(gray_last, gray_first)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"gray": 1}, "transforms: {'gray': 1} is not a list"),
        (["gray"], "entry 1 is not one name"),
        ([{"gray": 1, "blur": 1}], "entry 1 is not one name"),
        ([{"grey": 0.1}], "transforms: grey: unknown transform; did you mean gray"),
        ([{"hsv": 0.5}], "hsv: unknown parameter 'p'; known: h, s, v"),
        ([{"hsv": {"h": 2}}], "hsv: h: 2 is not a number from 0 to 1"),
        ([{"blur": None}], "blur: p: None is not a number"),
    ],
)
def test_a_wrong_entry_is_named(entries, message):
    with pytest.raises(ConfigError) as error:
        build_listed(entries, "my.yaml")
    assert f"{error.value.what}; {error.value.fix}".startswith("my.yaml: transforms: ")
    assert message in f"{error.value.what}; {error.value.fix}"


def test_what_is_for_rgb_alone_is_refused_for_other_pixels():
    four, deep = PixelFormat(4, 8), PixelFormat(3, 16)
    assert len(build_listed([{"fliplr": 0.5}, {"blur": 0.1}], "hyp.yaml", deep)) == 2
    with pytest.raises(ConfigError, match="hsv: is for RGB of 8 bits only, not for 4 × 8 bits"):
        build_listed([{"hsv": {"h": 0.1}}], "hyp.yaml", four)
    flipped = build_listed([{"fliplr": 1}], "hyp.yaml", deep)[0](
        Sample(picture(deep), np.zeros((0, 5))), np.random.default_rng(0)
    )
    assert np.array_equal(flipped.image, picture(deep)[:, ::-1])


def hyp_file(folder, **changes):
    write_yaml(folder / "hyp.yaml", {**read_yaml(LOW), **changes})
    return folder / "hyp.yaml"


OFF = dict.fromkeys(("hsv_h", "hsv_s", "hsv_v", "fliplr"), 0)


def test_a_file_has_the_list_or_the_keys_that_it_takes_the_place_of(tmp_path):
    with pytest.raises(ConfigError, match=r"hyp\.yaml: transforms takes the place of fliplr, hsv_h, hsv_s, hsv_v"):
        load_hyp(hyp_file(tmp_path, transforms=MIXED), LOSS)

    file = hyp_file(tmp_path, transforms=MIXED, **OFF)
    short = {key: value for key, value in read_yaml(file).items() if key not in OFF and key != "flipud"}
    write_yaml(file, short)  # these keys may be missing then
    hyp = load_hyp(file, LOSS)

    assert hyp["transforms"] == MIXED
    assert (hyp["fliplr"], hyp["hsv_h"], hyp["flipud"]) == (0, 0, 0)
    assert "transforms" not in load_hyp(LOW, LOSS)
    write_yaml(file, hyp)  # as hyp.yaml of a run
    assert load_hyp(file, LOSS) == hyp
    with pytest.raises(ConfigError, match=r"hyp\.yaml: transforms: hvs: unknown transform"):
        load_hyp(hyp_file(tmp_path, transforms=[{"hvs": {}}], **OFF), LOSS)


def scan_of(folder, count=6, pixels=RGB):
    rng, paths, labels = np.random.default_rng(5), [], []
    for number in range(count):
        image = picture(shape=(60, 80), seed=number)
        cv2.imwrite(str(folder / f"{number}.png"), image)
        paths.append(str(folder / f"{number}.png"))
        centre = rng.uniform(0.3, 0.7, (3, 2))
        labels.append(np.concatenate([rng.integers(0, 3, (3, 1)), centre, rng.uniform(0.1, 0.5, (3, 2))], 1))
    segments = [[np.zeros((0, 2))] * 3 for _ in paths]
    return SimpleNamespace(
        image_paths=paths, shapes=np.array([(60, 80)] * count), labels=labels, segments=segments, pixels=pixels
    )


BASE = AugmentConfig(mosaic=0.7, scale=0.5, translate=0.1)


def loader_of(scan, workers=0, **augment):
    loader = build_train_loader(scan, 64, 3, replace(BASE, **augment), workers=0)
    return BatchLoader(loader.batches, workers)  # as many as asked for, however few CPUs there are


def test_the_list_repeats_the_keys_bit_by_bit(tmp_path):
    """The same random numbers, where hsv stands alone: the list is another way to write it."""
    scan = scan_of(tmp_path)

    keys = next(iter(loader_of(scan, hsv_h=0.015, hsv_s=0.7, hsv_v=0.4)))
    listed = next(iter(loader_of(scan, transforms=MIXED[:1])))

    assert keys.images.equal(listed.images)
    assert keys.targets.equal(listed.targets)


SPATIAL = [
    {"albumentations.Affine": {"rotate": [-30, 30], "translate_percent": [-0.3, 0.3], "p": 1.0}},
    {"fliplr": 0.5},
    {"albumentations.RandomResizedCrop": {"size": [40, 40], "p": 0.5}},
    {"albumentations.CLAHE": {"p": 0.5}},
]


@pytest.mark.parametrize("entries", [MIXED, SPATIAL], ids=["own", "albumentations"])
def test_workers_ranks_and_a_second_time_change_nothing(tmp_path, entries, request):
    if entries is SPATIAL:
        request.getfixturevalue("package")
    scan = scan_of(tmp_path)

    runs = [list(loader_of(scan, workers, transforms=entries)) for workers in (0, 2, 0)]
    other = list(build_train_loader(scan, 64, 3, replace(BASE, transforms=entries), seed=1, workers=0))

    parts = [
        list(
            build_train_loader(
                scan, 64, 3, replace(BASE, transforms=entries), workers=0, sampling=Sampling(part=(n, 2))
            )
        )
        for n in range(2)
    ]
    for whole, *halves in zip(runs[0], *parts, strict=True):
        assert torch.cat([half.images for half in halves]).equal(whole.images)
    for batches in runs[1:]:
        for mine, first in zip(batches, runs[0], strict=True):
            assert mine.images.equal(first.images)
            assert mine.targets.equal(first.targets)
    assert not other[0].images.equal(runs[0][0].images)
    low = runs[0][0].targets[:, 2:4] - runs[0][0].targets[:, 4:] / 2
    assert len(low) and low.min() >= 0 and (low + runs[0][0].targets[:, 4:]).max() <= 1


def test_boxes_follow_a_flip_of_the_package(package):
    image = picture()

    sample = apply([{"albumentations.HorizontalFlip": 1.0}], image, [(3, 0.25, 0.5, 0.3, 0.4), (1, 0.8, 0.9, 0.4, 0.2)])

    assert np.array_equal(sample.image, image[:, ::-1])
    assert sample.labels == pytest.approx(np.array([(3, 0.75, 0.5, 0.3, 0.4), (1, 0.2, 0.9, 0.4, 0.2)]), abs=1e-4)


def test_boxes_are_cut_and_filtered_as_after_our_own_warp(package):
    """Of the left half: a box across its edge is cut, one of which a fortieth is left goes, as one outside does."""
    labels = [(0, 0.5, 0.5, 0.4, 0.4), (1, 0.69, 0.5, 0.4, 0.4), (2, 0.8, 0.8, 0.2, 0.2), (4, 0.2, 0.2, 0.2, 0.2)]
    crop = {"albumentations.Crop": {"x_min": 0, "y_min": 0, "x_max": WIDTH // 2, "y_max": HEIGHT, "p": 1.0}}

    sample = apply([crop], picture(), labels)

    assert sample.image.shape == (HEIGHT, WIDTH, 3)  # stretched back
    assert sample.labels == pytest.approx(np.array([(0, 0.8, 0.5, 0.4, 0.4), (4, 0.4, 0.2, 0.4, 0.2)]), abs=2e-4)


def test_a_colour_transform_leaves_boxes_as_they_are(package):
    tiny = [(0, 0.5, 0.5, 0.001, 0.001), (1, 0.999, 0.5, 0.2, 0.2)]

    sample = apply([{"albumentations.InvertImg": 1.0}], picture(), tiny)

    assert np.array_equal(sample.image, 255 - picture())
    assert np.array_equal(sample.labels, tiny)
    assert apply([{"albumentations.Rotate": 1.0}], picture(), []).labels.shape == (0, 5)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"albumentations.Clahe": {}}, "has no such transform; did you mean albumentations.CLAHE"),
        ({"albumentations.Compose": {}}, "has no such transform"),
        ({"albumentations.__class__": {}}, "has no such transform"),
        ({"albumentations.Blur": {"blur": 3}}, "unknown parameter 'blur'; known: blur_limit, p"),
        ({"albumentations.Blur": {"p": 3}}, "p: Input should be less than or equal to 1"),
        ({"albumentations.MedianBlur": {"blur_limit": "x"}}, "blur_limit: Input should be"),
        ({"albumentations.CenterCrop": {}}, "height: Field required"),
        ({"albumentations.Crop": {"x_max": 500, "y_max": 500}}, "tried on 48×64 pixels"),
        ({"albumentations.ToFloat": {}}, "makes float32"),
        ({"albumentations.Mosaic": {}}, "mosaic_metadata"),
    ],
)
def test_what_the_package_cannot_do_is_refused_at_the_start(package, entry, message):
    with pytest.raises(ConfigError) as error:
        build_listed([entry], "my.yaml", shape=(HEIGHT, WIDTH))
    assert error.value.what.startswith(f"my.yaml: transforms: {next(iter(entry))}: ")
    assert message in f"{error.value.what}; {error.value.fix}"


def test_a_list_goes_to_processes_that_are_started_afresh(package):
    steps = pickle.loads(pickle.dumps(build_listed([*MIXED, *SPATIAL], "hyp.yaml")))

    first, second = (Sample(picture(), np.array([[0, 0.5, 0.5, 0.4, 0.4]])) for _ in range(2))
    for mine, other in zip(build_listed([*MIXED, *SPATIAL], "hyp.yaml"), steps, strict=True):
        first, second = (step(sample, np.random.default_rng(1)) for step, sample in ((mine, first), (other, second)))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.labels, second.labels)


def test_channels_and_bits_are_kept_or_refused(package):
    four, deep = PixelFormat(4, 8), PixelFormat(2, 16)
    for pixels in (four, deep):
        [step] = build_listed([{"albumentations.VerticalFlip": 1.0}], "hyp.yaml", pixels, (HEIGHT, WIDTH))
        flipped = step(Sample(picture(pixels), np.zeros((0, 5))), np.random.default_rng(0)).image
        assert np.array_equal(flipped, picture(pixels)[::-1])
    with pytest.raises(ConfigError, match="HueSaturationValue"):
        build_listed([{"albumentations.HueSaturationValue": {}}], "hyp.yaml", four, (HEIGHT, WIDTH))
    with pytest.raises(ConfigError, match="changes values of 8 bits only, and the images have 16"):
        build_listed([{"albumentations.GaussNoise": {}}], "hyp.yaml", deep, (HEIGHT, WIDTH))


def test_without_the_package_the_list_says_what_to_install(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(ConfigError, match="not installed") as error:
        build_listed([{"albumentations.CLAHE": {}}], "my.yaml")
    assert error.value.fix == "pip install albumentations==2.0.8"


def test_another_version_is_refused_before_it_is_imported(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", {"albumentations": "2.0.9"}.get)
    monkeypatch.setitem(sys.modules, "albumentations", None)  # importing it would fail
    with pytest.raises(ConfigError, match=r"is for Albumentations 2\.0\.8, and 2\.0\.9 is installed"):
        build_listed([{"albumentations.CLAHE": {}}], "my.yaml")


FRESH_PROCESS = """
import os, sys
from utils.data.mosaic.transforms._listed import build_listed

def stop(event, _):  # an exception would be caught by the package
    if event in ("socket.getaddrinfo", "socket.connect"):
        os._exit(7)

sys.addaudithook(stop)
assert "albumentations" not in sys.modules
build_listed([{"albumentations.CLAHE": {"p": 1}}], "hyp.yaml", shape=(32, 32))
"""


def test_importing_the_package_sends_nothing(monkeypatch):
    """Where it is not told otherwise, it asks a server for its newest version."""
    assert find_spec("albumentations") or pytest.skip("pip install albumentations==2.0.8")
    monkeypatch.delenv("NO_ALBUMENTATIONS_UPDATE", raising=False)

    run = subprocess.run([sys.executable, "-c", FRESH_PROCESS], cwd=ROOT, timeout=60, check=False)

    assert run.returncode == 0
