"""Write an MP4 video, frame by frame, under its name only once it is complete."""

import math
import tempfile
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from utils.errors import OutputError, StorageError
from utils.runs import atomic_write

CODEC = "mp4v"
DEFAULT_FPS = 30.0  # for sources that do not know theirs
SLOWEST_FPS = 0.002  # of which OpenCV makes a fraction
MAX_TICKS = 65535  # MPEG-4 counts time in parts of a second, at most so many
MAX_STILL_S = 2.0  # of a live stream that pauses
PROBE_BYTES = 1 << 16


def codec_rate(fps: float | None) -> float:
    """Return the rate nearest to ``fps`` that MPEG-4 can hold, written as OpenCV does: 105.611 is 10561/100."""
    if fps is None or not math.isfinite(fps) or fps <= 0:
        return DEFAULT_FPS
    fps = min(max(fps, SLOWEST_FPS), MAX_TICKS)
    decimals = next(places for places in (3, 2, 1, 0) if round(fps * 10**places) <= MAX_TICKS)
    return round(fps, decimals)


class VideoFile:
    """An MP4 file that is being written; ``close`` gives it its name."""

    def __init__(self, path: Path, fps: float | None, shape: tuple[int, int]) -> None:
        """Open a video of ``shape`` (height, width), or one pixel more where that is odd. Raises: OutputError."""
        self.path, self.frames, self.rate = path, 0, codec_rate(fps)
        self._still = 0.0  # seconds in which a live stream showed nothing, and which are left out
        self._stack = ExitStack()
        self._temporary = self._stack.enter_context(atomic_write(path))
        self.shape = tuple(side + side % 2 for side in shape)  # the codec halves the colours' resolution
        height, width = self.shape
        fourcc = cv2.VideoWriter_fourcc(*CODEC)
        self._video = cv2.VideoWriter(str(self._temporary), fourcc, self.rate, (width, height))
        if not self._video.isOpened():
            with self._stack:
                what = f"{path}: this OpenCV cannot write {CODEC} video of {width}×{height} pixels"
                raise OutputError(what, "use --nosave, smaller images, or an OpenCV with FFmpeg")

    def due(self, seconds: float | None) -> int:
        """Return how often the next frame is to be written for the video to run as time does.

        ``seconds`` is when the frame came, after the first one: a live stream comes at any rate. A pause of more than
        ``MAX_STILL_S`` is shortened to that. None is a frame of a video, which is written once.
        """
        if seconds is None:
            return 1
        due = round((seconds - self._still) * self.rate) + 1 - self.frames
        most = max(1, round(MAX_STILL_S * self.rate))
        if due > most:
            self._still += (due - most) / self.rate
        return min(max(due, 0), most)

    def write(self, image: np.ndarray) -> None:
        """Append an RGB frame; one of another size than the first is scaled to it."""
        height, width = self.shape
        missing = height - image.shape[0], width - image.shape[1]
        if missing in ((0, 0), (0, 1), (1, 0), (1, 1)):
            image = cv2.copyMakeBorder(image, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
        else:
            image = cv2.resize(image, (width, height))
        self._video.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self.frames += 1

    def close(self) -> None:
        """Finish the file. Raises: StorageError on a full disk, OutputError when it cannot be read back otherwise."""
        with self._stack:
            self._video.release()
            check = cv2.VideoCapture(str(self._temporary))
            complete = check.isOpened() and check.get(cv2.CAP_PROP_FRAME_COUNT) >= self.frames
            check.release()
            if not complete:  # OpenCV reports no failed write
                _check_disk(self.path)
                raise OutputError(f"{self.path}: the video could not be written", "use --nosave, or smaller images")


def _check_disk(path: Path) -> None:
    """Raises: StorageError where the disk takes no more."""
    try:
        with tempfile.TemporaryFile(dir=path.parent) as probe:
            probe.write(bytes(PROBE_BYTES))
    except OSError as error:
        raise StorageError(
            f"{path}: the video could not be written ({error.strerror})", "free some space on the disk"
        ) from error
