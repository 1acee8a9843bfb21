"""Show what was found in a window on the screen."""

import os
import re
import sys
from collections.abc import Callable
from types import TracebackType

import cv2
import numpy as np

from utils.data.sources import Frame
from utils.detection.found import Detections
from utils.errors import ConfigError
from utils.text import safe_text

END = ("q", "\x1b")  # Escape
POLL_MS = 50
FIX = "leave --view-img out; the drawn pictures are saved"


class Window:
    """A window for each image source; ``q`` or Escape ends the run, any other key goes on from a still image."""

    def __init__(self, draw: Callable[[Frame, Detections], np.ndarray]) -> None:
        """Raises: ConfigError where no window can be opened."""
        if re.search(r"GUI:\s+NONE", cv2.getBuildInformation()):
            fix = f"pip install opencv-python in place of opencv-python-headless, or {FIX}"
            raise ConfigError("--view-img: this OpenCV can open no windows", fix)
        # without a display Qt would end the process
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise ConfigError("--view-img: there is no display here", FIX)
        self.draw, self._open = draw, set()

    def show(self, frame: Frame, detections: Detections) -> bool:
        """Show a frame; return False where the user has had enough. An image stays until a key is pressed."""
        title = safe_text(frame.path.name)
        if not frame.is_video:
            self.close()
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
            if title not in self._open:
                cv2.resizeWindow(title, frame.image.shape[1], frame.image.shape[0])
            cv2.imshow(title, cv2.cvtColor(self.draw(frame, detections), cv2.COLOR_RGB2BGR))
        except cv2.error as error:
            raise ConfigError(f"--view-img: the window cannot be opened ({error.err})", FIX) from error
        self._open.add(title)
        key = cv2.waitKey(1)
        while key < 0 and not frame.is_video and cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) > 0:
            key = cv2.waitKey(POLL_MS)
        return chr(key & 0xFF) not in END if key >= 0 else True

    def close(self) -> None:
        if self._open:
            cv2.destroyAllWindows()
            self._open.clear()

    def __enter__(self) -> "Window":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
