"""The pictures of a screen, taken through the optional package mss."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from utils.errors import ConfigError, DataError
from utils.pixels import PixelFormat, frame_pixels

FPS = 30.0  # at most
_FORM = 'write "screen", "screen 1", "screen LEFT TOP WIDTH HEIGHT" or "screen 1 LEFT TOP WIDTH HEIGHT"'


def parse_screen(text: str) -> tuple[int, tuple[int, int, int, int] | None]:
    """Return the number of the monitor, 0 for all of them, and left, top, width and height on it, where given.

    Raises: ConfigError.
    """
    word, *values = text.split()
    try:
        numbers = [int(value) for value in values]
    except ValueError:
        numbers = [-1]
    if word.lower() != "screen" or len(numbers) not in (0, 1, 4, 5):
        raise ConfigError(f"{text}: not a part of a screen", _FORM)
    monitor = numbers[0] if len(numbers) in (1, 5) else 0
    region = tuple(numbers[-4:]) if len(numbers) > 1 else None
    if monitor < 0 or (region and min(region[2:]) < 1):
        raise ConfigError(f"{text}: not a part of a screen", _FORM)
    return monitor, region


class ScreenReader:
    """Takes a picture of a monitor, or of a part of it, at most ``FPS`` times a second.

    To be made, used and closed in one thread, as mss demands.
    """

    def __init__(self, text: str, pixels: PixelFormat, stride: int = 1) -> None:
        """Take what ``parse_screen`` reads. Raises: ConfigError without the package, DataError without the screen."""
        monitor, region = parse_screen(text)
        self.pixels, self.fps = pixels, FPS / stride
        self._mss = _open_mss()
        monitors = self._mss.monitors  # the first stands for all together
        if monitor >= len(monitors):
            self._mss.close()
            raise DataError(f"{text}: there is no monitor {monitor}", f"give 0 for all, or 1 to {len(monitors) - 1}")
        self._area = _area(monitors[monitor], region)
        self._next = time.monotonic()

    def read(self) -> np.ndarray | None:
        """Return a picture (H, W, C), None where the screen can no longer be read."""
        time.sleep(max(self._next - time.monotonic(), 0))
        self._next = time.monotonic() + 1 / self.fps
        try:
            shot = self._mss.grab(self._area)
        except _errors():
            return None
        return frame_pixels(np.asarray(shot)[..., :3], self.pixels)  # BGRA

    def close(self) -> None:
        self._mss.close()


def _area(monitor: dict[str, int], region: Sequence[int] | None) -> dict[str, int]:
    left, top, width, height = region or (0, 0, monitor["width"], monitor["height"])
    return {"left": monitor["left"] + left, "top": monitor["top"] + top, "width": width, "height": height}


def _open_mss() -> Any:
    try:
        import mss
    except ModuleNotFoundError as error:
        raise ConfigError("pictures of a screen need the package mss", "pip install mss") from error
    try:
        return mss.MSS() if hasattr(mss, "MSS") else mss.mss()  # the second name is that of old versions
    except _errors() as error:
        raise DataError(f"there is no screen here: {error}", "start this where a screen is, or give files") from error


def _errors() -> type[Exception]:
    from mss.exception import ScreenShotError

    return ScreenShotError
