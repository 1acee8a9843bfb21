"""What ``--source`` may be: files, a URL, a camera, a screen, a network stream, or a .streams file of several."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from utils.data.image.read import COLORS, image_suffixes
from utils.data.remote import (
    MAX_IMAGE_BYTES,
    MAX_VIDEO_BYTES,
    TIMEOUT_S,
    download_to,
    is_url,
    split_url,
    url_name,
    without_password,
)
from utils.data.screen import ScreenReader, parse_screen
from utils.data.sources import VIDEO_SUFFIXES, Frame, ImageSource
from utils.data.streams import Channel, StreamSource
from utils.errors import ConfigError, DataError
from utils.pixels import RGB, PixelFormat, frame_pixels

STREAM_STARTS = ("http://", "https://", "rtsp://", "rtmp://")
LIST = ".streams"
FASTEST = 240.0  # frames per second that a camera may announce and be believed
TIMEOUTS = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_S * 1000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_S * 1000)


class Source(Protocol):
    """Where frames come from."""

    kind: str  # of what it has several, such as file
    skipped: list[tuple[Path, str]]  # once all have come: what could not be read, and why

    def __len__(self) -> int:
        """Return the number of files or streams."""

    def batches(self, size: int) -> Iterator[list[Frame]]:
        """Yield the frames in lists of at most ``size``."""


@contextmanager
def open_source(source: str | Path, vid_stride: int = 1, pixels: PixelFormat = RGB) -> Iterator[Source]:
    """Yield what ``source`` names, every ``vid_stride``-th frame of what moves, all as ``pixels``.

    Raises: ConfigError, DataError where nothing can be read.
    """
    text = str(source)
    suffix = Path(url_name(text)).suffix.lower() if is_url(text) else ""
    if suffix in image_suffixes(pixels) | VIDEO_SUFFIXES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, url_name(text))
            limit = MAX_VIDEO_BYTES if suffix in VIDEO_SUFFIXES else MAX_IMAGE_BYTES
            download_to(path, text, limit, public_only=False)
            yield ImageSource(path, vid_stride, pixels, is_temporary=True)
    elif is_stream(text):
        if pixels.channels not in COLORS:
            raise ConfigError(
                f"{without_password(text)}: has 3 channels, and the model takes {pixels.channels}", "give files"
            )
        with StreamSource(_channels(text, vid_stride, pixels)) as streams:
            yield streams
    else:
        yield ImageSource(source, vid_stride, pixels)


def is_stream(text: str) -> bool:
    """Return whether a source is a camera's number, a network stream, a screen or a list of these."""
    lower = text.lower()
    is_word = lower.split(maxsplit=1)[:1] == ["screen"] and not Path(text).exists()
    return text.isdecimal() or lower.startswith(STREAM_STARTS) or lower.endswith(LIST) or is_word


def _channels(text: str, vid_stride: int, pixels: PixelFormat) -> list[Channel]:
    """Return what a source names, each with a name of its own. Raises: ConfigError, DataError."""
    entries = _listed(Path(text)) if text.lower().endswith(LIST) else [text]
    channels: list[Channel] = []
    names: set[str] = set()
    for entry in entries:
        channel = _channel(entry, vid_stride, pixels)
        name, number = channel.name, 1
        while name in names:
            number += 1
            name = f"{channel.name}-{number}"  # _2 would be its second frame
        names.add(name)
        channels.append(Channel(name, channel.address, channel.open, channel.is_live))
    return channels


def _listed(path: Path) -> list[str]:
    """Return the entries of a .streams file, files as paths. Raises: DataError naming the line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else (error.strerror or "unreadable").lower()
        raise DataError(f"{path}: {why}", "write one camera number, URL or video per line") from error
    entries = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        if line.lower().endswith(LIST) or not is_stream(line):
            file = path.parent / line
            if not file.is_file() or file.suffix.lower() not in VIDEO_SUFFIXES:
                what = f"{path}:{number} {line}: neither a stream nor a video file"
                raise DataError(what, "write a camera's number, a URL, or a video's path relative to this file")
            line = str(file)
        entries.append(line)
    if not entries:
        raise DataError(f"{path}: names no streams", "write one camera number, URL or video per line")
    return entries


def _channel(entry: str, vid_stride: int, pixels: PixelFormat) -> Channel:
    capture = partial(CaptureReader, pixels=pixels, stride=vid_stride)
    if entry.isdecimal():
        return Channel(f"camera{int(entry)}", f"camera {int(entry)}", partial(capture, int(entry)))
    if entry.lower().startswith(STREAM_STARTS):
        place = split_url(without_password(entry))
        name = "".join(char if char.isalnum() or char == "-" else "_" for char in place.netloc + place.path)
        return Channel(name.strip("_") or "stream", without_password(entry), partial(capture, entry))
    if entry.lower().split()[0] == "screen":
        parse_screen(entry)
        return Channel("_".join(entry.lower().split()), entry, partial(ScreenReader, entry, pixels, vid_stride))
    return Channel(
        Path(entry).stem.replace(".", "_"), entry, partial(FileReader, entry, vid_stride, pixels), is_live=False
    )


class CaptureReader:
    """A camera or network stream that OpenCV opens."""

    def __init__(self, address: int | str, pixels: PixelFormat, stride: int = 1) -> None:
        """Raises: DataError where there is none."""
        self.pixels, self.stride = pixels, stride
        if isinstance(address, int):
            self._capture, shown = cv2.VideoCapture(address), f"camera {address}"
        else:
            self._capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, TIMEOUTS)
            shown = without_password(address)
        if not self._capture.isOpened():
            self._capture.release()
            fix = "check the number, and that no other program has it" if isinstance(address, int) else "check the URL"
            raise DataError(f"{shown}: cannot be opened", fix)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps / stride if 0 < fps <= FASTEST else None

    def read(self) -> np.ndarray | None:
        """Return the last of the next ``stride`` frames."""
        for _ in range(self.stride):
            if not self._capture.grab():
                return None
        decoded, image = self._capture.retrieve()
        return frame_pixels(image, self.pixels) if decoded else None

    def close(self) -> None:
        self._capture.release()


class FileReader:
    """A video file among streams."""

    def __init__(self, path: str, stride: int, pixels: PixelFormat) -> None:
        self.fps: float | None = None
        self._frames = iter(ImageSource(path, stride, pixels))

    def read(self) -> np.ndarray | None:
        """Return the next frame. Raises: ImageError where the file is no video."""
        frame = next(self._frames, None)
        self.fps = frame.fps if frame else None
        return frame.image if frame else None

    def close(self) -> None:
        self._frames.close()
