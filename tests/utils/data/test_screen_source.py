"""Screens as sources: whole monitors and parts of them, by a package that is asked for only then."""

import sys
import types

import numpy as np
import pytest

from utils.data import screen
from utils.data.open_source import open_source
from utils.errors import ConfigError, DataError


class FakeScreen:
    """Two monitors side by side."""

    monitors = ({"left": 0, "top": 0, "width": 30, "height": 8}, *(
        {"left": left, "top": 0, "width": width, "height": 8} for left, width in ((0, 10), (10, 20))
    ))  # fmt: skip

    def grab(self, area):
        shot = np.zeros((area["height"], area["width"], 4), np.uint8)
        shot[..., 0], shot[..., 2] = 200, area["left"]  # BGRA
        return shot

    def close(self):
        """Nothing is open."""


@pytest.fixture
def mss(monkeypatch):
    module, errors = types.ModuleType("mss"), types.ModuleType("mss.exception")
    module.MSS, errors.ScreenShotError = FakeScreen, type("ScreenShotError", (Exception,), {})
    monkeypatch.setitem(sys.modules, "mss", module)
    monkeypatch.setitem(sys.modules, "mss.exception", errors)
    monkeypatch.setattr(screen, "FPS", 1000.0)
    return module


@pytest.mark.parametrize(
    ("text", "shape", "left"),
    [
        ("screen", (8, 30), 0),
        ("SCREEN 2", (8, 20), 10),
        ("screen 3 2 5 4", (5 - 1, 5), 3),  # left top width height: 3 2 5 4
        ("screen 2 3 2 5 4", (4, 5), 13),
    ],
)
def test_a_screen_is_read_whole_or_in_part(mss, text, shape, left):
    with open_source(text) as source:
        (frame, *_) = next(source.batches(1))

    assert frame.image.shape == (*shape, 3)
    assert frame.image[0, 0].tolist() == [left, 0, 200], "RGB"


@pytest.mark.parametrize("text", ["screen x", "screen 1 2", "screen 1 2 3 0 4", "screen -1"])
def test_what_is_no_part_of_a_screen_is_refused(mss, text):
    with pytest.raises(ConfigError, match="not a part of a screen"), open_source(text):
        pytest.fail("it was opened")


def test_a_screen_without_its_package_or_its_monitor_is_one_sentence(mss, monkeypatch):
    with pytest.raises(DataError, match="there is no monitor 3"), open_source("screen 3"):
        pytest.fail("it was opened")
    monkeypatch.setitem(sys.modules, "mss", None)
    with pytest.raises(ConfigError, match="need the package mss"), open_source("screen"):
        pytest.fail("it was opened")
