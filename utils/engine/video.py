"""Write an MP4 video, frame by frame, under its name only once it is complete."""

from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from utils.errors import StorageError
from utils.runs import atomic_write

CODEC = "mp4v"
DEFAULT_FPS = 30.0  # for sources that do not know theirs


class VideoFile:
    """An MP4 file that is being written; ``close`` gives it its name."""

    def __init__(self, path: Path, fps: float | None, shape: tuple[int, int]) -> None:
        """Open a video of ``shape`` (height, width). Raises: StorageError."""
        self.path, self.frames = path, 0
        self._stack = ExitStack()
        self._temporary = self._stack.enter_context(atomic_write(path))
        height, width = shape
        self._video = cv2.VideoWriter(
            str(self._temporary), cv2.VideoWriter_fourcc(*CODEC), fps or DEFAULT_FPS, (width, height)
        )
        if not self._video.isOpened():
            with self._stack:
                raise StorageError(f"{path}: this OpenCV cannot write {CODEC} video", "use --nosave, or install FFmpeg")

    def write(self, image: np.ndarray) -> None:
        """Append an RGB frame."""
        self._video.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self.frames += 1

    def close(self) -> None:
        """Finish the file. Raises: StorageError when it cannot be read back, as on a full disk."""
        with self._stack:
            self._video.release()
            check = cv2.VideoCapture(str(self._temporary))
            complete = check.isOpened() and check.get(cv2.CAP_PROP_FRAME_COUNT) >= self.frames
            check.release()
            if not complete:  # OpenCV reports no failed write
                raise StorageError(f"{self.path}: the video could not be written", "free some space on the disk")
