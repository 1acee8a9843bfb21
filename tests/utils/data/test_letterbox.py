"""Letterboxing keeps proportions and places the image as the reference does."""

import json
from pathlib import Path

import numpy as np
import pytest

from utils.data.letterbox import fit, letterbox

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/letterbox.json").read_text())


@pytest.mark.parametrize("case", GOLDEN, ids=lambda c: f"{c['h']}x{c['w']}-auto{c['auto']}-up{c['scaleup']}")
def test_size_ratio_and_padding_equal_the_reference(case):
    image = np.zeros((case["h"], case["w"], 3), np.uint8)

    boxed, ratio, pad = letterbox(image, (640, 640), auto=case["auto"], scaleup=case["scaleup"])

    assert boxed.shape == (*case["out"], 3)
    assert ratio == pytest.approx(case["ratio"])
    assert pad == pytest.approx(case["pad"])


# (h, w), target, auto, scaleup, stride → result (h, w), ratio, half padding (w, h), border (top, bottom, left, right)
WORKED = [
    ((720, 1280), (640, 640), True, True, 32, (384, 640), 0.5, (0, 12), (12, 12, 0, 0)),
    ((1080, 810), (640, 640), True, True, 32, (640, 480), 0.592593, (0, 0), (0, 0, 0, 0)),
    ((427, 640), (640, 640), False, True, 32, (640, 640), 1.0, (0, 106.5), (106, 107, 0, 0)),
    ((100, 333), (640, 640), False, False, 32, (640, 640), 1.0, (153.5, 270), (270, 270, 153, 154)),
    ((375, 500), (384, 672), False, False, 32, (384, 672), 1.0, (86, 4.5), (4, 5, 86, 86)),
    ((333, 500), (640, 640), True, True, 64, (448, 640), 1.28, (0, 11), (11, 11, 0, 0)),
]


@pytest.mark.parametrize("case", WORKED, ids=lambda c: f"{c[0][0]}x{c[0][1]}")
def test_border_lies_where_the_reference_puts_it(case):
    shape, target, auto, scaleup, stride, result, ratio, pad, border = case
    image = np.full((*shape, 3), 255, np.uint8)

    boxed, ratios, half = letterbox(image, target, auto=auto, scaleup=scaleup, stride=stride)

    inside = np.argwhere((boxed != 114).all(2))
    assert boxed.shape[:2] == result
    assert ratios == pytest.approx((ratio, ratio), abs=1e-6)
    assert half == pad
    (top, left), (bottom, right) = inside[0], inside[-1] + 1
    assert (top, result[0] - bottom, left, result[1] - right) == border


def test_an_extremely_long_image_keeps_one_pixel():
    place = fit((20, 20000), (640, 640))

    assert place.size == (640, 1)
    assert letterbox(np.zeros((20, 20000, 3), np.uint8))[0].shape == (640, 640, 3)


def test_the_shorter_side_is_rounded_to_the_nearest_pixel():
    assert fit((1000, 301), (640, 640)).size == (193, 640)  # 301 · 0.64 = 192.64
    assert fit((302, 1000), (640, 640)).size == (640, 193)  # 302 · 0.64 = 193.28


def test_an_image_that_fits_is_copied_unchanged():
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)

    boxed, _, _ = letterbox(image, 640)

    assert np.array_equal(boxed[80:560], image)
    assert (boxed[:80] == 114).all()
