"""The rule of the palette, measured: contrasts by WCAG 2, distances by CIEDE2000, in four ways of seeing colours."""

import numpy as np
import pytest

from utils.plots.annotate import PALETTE, color_of, text_color_on

TO_XYZ = np.array(  # of linear sRGB, IEC 61966-2-1
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
VISIONS = {  # Machado 2009, severity 1.0, on linear sRGB
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def linear(colors):
    values = np.asarray(colors) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    light, dark = sorted((linear([one, other]) @ TO_XYZ[1]).tolist(), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(linear_rgb):
    t = linear_rgb @ TO_XYZ.T / TO_XYZ.sum(axis=1)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=-1)


def ciede2000(one, other):
    """Sharma, Wu & Dalal, The CIEDE2000 Color-Difference Formula, 2005, equations 2 to 22."""
    (l1, a1, b1), (l2, a2, b2) = np.moveaxis(np.asarray(one), -1, 0), np.moveaxis(np.asarray(other), -1, 0)
    mean7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - np.sqrt(mean7 / (mean7 + 25.0**7)))
    c1, c2 = np.hypot(a1 * (1 + g), b1), np.hypot(a2 * (1 + g), b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1 * (1 + g))) % 360, np.degrees(np.arctan2(b2, a2 * (1 + g))) % 360
    turn = (h2 - h1 + 180) % 360 - 180
    d_l, d_c, d_h = l2 - l1, c2 - c1, 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn) / 2)
    light, c, h = (l1 + l2) / 2, (c1 + c2) / 2, (h1 + turn / 2) % 360
    cosines = [(-0.17, 1, -30), (0.24, 2, 0), (0.32, 3, 6), (-0.2, 4, -63)]
    t = 1 + sum(k * np.cos(np.radians(n * h + shift)) for k, n, shift in cosines)
    s_l = 1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2)
    s_c, s_h = 1 + 0.045 * c, 1 + 0.015 * c * t
    r_t = -2 * np.sqrt(c**7 / (c**7 + 25.0**7)) * np.sin(np.radians(60 * np.exp(-(((h - 275) / 25) ** 2))))
    return np.sqrt((d_l / s_l) ** 2 + (d_c / s_c) ** 2 + (d_h / s_h) ** 2 + r_t * d_c / s_c * d_h / s_h)


@pytest.mark.parametrize(
    ("one", "other", "distance"),  # from the test data of that paper, Table 1
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ],
)
def test_the_distance_is_that_of_the_paper(one, other, distance):
    assert ciede2000(one, other) == pytest.approx(distance, abs=1e-4)


def test_no_colour_is_near_white_or_black():
    assert min(contrast(color, (255, 255, 255)) for color in PALETTE) >= 2.25
    assert min(contrast(color, (0, 0, 0)) for color in PALETTE) >= 2.25


def test_text_on_every_colour_can_be_read():
    assert min(contrast(color, text_color_on(color)) for color in PALETTE) >= 4.5
    assert text_color_on((255, 255, 0)) == (0, 0, 0) and text_color_on((0, 0, 160)) == (255, 255, 255)


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_are_apart_in_every_vision(vision):
    seen = lab(np.clip(linear(PALETTE) @ VISIONS[vision].T, 0, 1))
    distances = ciede2000(seen[:, None], seen[None])

    assert len(PALETTE) == 20
    assert distances[np.triu_indices(20, 1)].min() >= 7.5
    assert distances[:6, :6][np.triu_indices(6, 1)].min() >= 13
    assert min(distances[k, (k + 1) % 20] for k in range(20)) >= 19
    assert color_of(19) == PALETTE[19] and color_of(20) == PALETTE[0]
