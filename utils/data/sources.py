"""The images that detection runs on: a file, a folder, a glob, a list file, or videos frame by frame."""

import glob
import itertools
import logging
import math
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from utils.data.image.read import COLORS, ImageError, image_suffixes, read_image
from utils.data.scan.discovery import read_list_file
from utils.errors import ConfigError, DataError
from utils.overlap import ahead
from utils.pixels import RGB, PixelFormat, frame_pixels

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset(
    {".asf", ".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
)
AHEAD = 2  # images that are read while others are looked at; few, as one may have 500 MB


@dataclass(frozen=True)
class Frame:
    """An image to look at, alone, out of a video or out of a stream."""

    path: Path  # of the file, or the name of the stream
    image: np.ndarray  # (H, W, C) as the source reads them, RGB uint8
    index: int  # of the file or stream in the source, from 0
    count: int  # files or streams in the source
    is_video: bool = False  # also True for a stream
    frame_number: int = 0  # in the video, from 0, counting only frames that are looked at
    frame_count: int = 1  # what the video announces, 0 where it does not
    fps: float | None = None  # of the frames that are looked at; None for images and where a video does not say
    is_stream: bool = False  # one of several that come at the same time
    seconds: float | None = None  # since the stream began, where it is live: some frames of it are then left out
    is_temporary: bool = False  # the file will be removed


class ImageSource:
    """Iterates over the frames of a source, images before videos.

    A file that cannot be read is left out, logged and kept in ``skipped`` with the reason; if it is the only one, that
    is a DataError.
    """

    kind = "file"

    def __init__(
        self, source: str | Path, vid_stride: int = 1, pixels: PixelFormat = RGB, is_temporary: bool = False
    ) -> None:
        """Take every ``vid_stride``-th frame of videos, and all as ``pixels``.

        Raises: ConfigError, DataError where nothing can be read.
        """
        if vid_stride < 1:
            raise ConfigError(f"vid_stride is {vid_stride}", "give 1 or more")
        self.files = _files_of(str(source), image_suffixes(pixels) | VIDEO_SUFFIXES)
        self.vid_stride, self.pixels, self.is_temporary = vid_stride, pixels, is_temporary
        self.skipped: list[tuple[Path, str]] = []

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.files)

    def batches(self, size: int) -> Iterator[list[Frame]]:
        """Yield all frames in lists of ``size``, the last one shorter; a thread reads ahead."""
        with closing(ahead(self, AHEAD + size)) as frames:
            while batch := list(itertools.islice(frames, size)):
                yield batch

    def __iter__(self) -> Iterator[Frame]:
        self.skipped.clear()
        for index, path in enumerate(self.files):
            try:
                if _is_video(path):
                    yield from self._video(path, index)
                else:
                    image = read_image(path, self.pixels)
                    yield Frame(path, image, index, len(self), is_temporary=self.is_temporary)
            except ImageError as error:
                if len(self) == 1:
                    raise
                log.warning("left out: %s", error.what)
                self.skipped.append((path, error.reason))

    def _video(self, path: Path, index: int) -> Iterator[Frame]:
        """Yield the last of every ``vid_stride`` frames."""
        if self.pixels.channels not in COLORS:
            raise ImageError(path, f"videos have 3 channels, and the model takes {self.pixels.channels}")
        if not path.is_file():  # a pipe would be waited for
            raise ImageError(path, "not a regular file")
        video = cv2.VideoCapture(str(path))
        try:
            announced = video.get(cv2.CAP_PROP_FRAME_COUNT)
            announced = int(announced) if 0 < announced < math.inf else 0
            fps = video.get(cv2.CAP_PROP_FPS) / self.vid_stride
            number = grabbed = 0
            while video.grab():
                grabbed += 1
                if grabbed % self.vid_stride:
                    continue
                decoded, image = video.retrieve()
                if not decoded:
                    grabbed -= 1
                    break
                image = frame_pixels(image, self.pixels)
                frames = announced // self.vid_stride
                yield Frame(path, image, index, len(self), True, number, frames, fps if 0 < fps < math.inf else None)
                number += 1
        finally:
            video.release()
        if not grabbed:
            raise ImageError(path, "not a video that OpenCV can open, or one without frames")
        if grabbed < announced:
            log.warning("%s: %d of %d frames could be read", path, grabbed, announced)
        if not number:
            log.warning("%s: has fewer than %d frames, and with this stride none is looked at", path, self.vid_stride)


def _files_of(source: str, suffixes: Collection[str]) -> list[Path]:
    path = Path(source)

    def is_known(file: Path) -> bool:
        return file.suffix.lower() in suffixes

    if path.is_dir():
        visible = (file for file in path.iterdir() if not file.name.startswith(".") and not file.is_dir())
        files = _sorted(filter(is_known, visible))
        nothing = f"{path.absolute()}: no images or videos in this folder"
    elif path.suffix.lower() == ".txt" and path.is_file():
        files = _sorted(filter(is_known, _listed(path)))
        nothing = f"{path}: names no images or videos"
    elif path.exists():
        files = [path] if is_known(path) else []
        nothing = f"{path}: neither an image nor a video, by its suffix"
    else:
        files = _sorted(filter(is_known, map(Path, _matches(source))))
        nothing = f"{source}: no such file or folder, and as a pattern it matches no image or video"
    if not files:
        known = " ".join(sorted(suffixes))
        raise DataError(nothing, f"give a file, folder, pattern or .txt list of these kinds: {known}")
    return files


def _matches(pattern: str) -> list[str]:
    return glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob needs a folder to start at


def _listed(path: Path) -> list[Path]:
    """Return the entries of a list file. Raises: DataError naming the line of an entry that does not exist."""
    entries = read_list_file(path)
    for line, entry in entries:
        if not entry.is_file():
            raise DataError(f"{path}:{line} {entry} is not a file", "paths are relative to the list file")
    return [entry for _, entry in entries]


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _sorted(files: Iterable[Path]) -> list[Path]:
    return sorted(files, key=lambda file: (_is_video(file), str(file)))
