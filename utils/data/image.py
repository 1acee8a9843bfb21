"""Read an image: the one decoder of the data-set scan, training, validation and detection.

JPEG and PNG headers are read here, because this costs microseconds; Pillow reads the headers of the rest, and OpenCV
decodes everything. A file that is cut short is refused whatever the OpenCV version makes of it. Gray, palette and CMYK
become RGB, transparency is dropped, 16-bit values keep their high byte, and of several pages the first is read.
"""

import errno
import io
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from utils.errors import DataError

IMAGE_SUFFIXES = frozenset({".bmp", ".dng", ".jpeg", ".jpg", ".mpo", ".pfm", ".png", ".tif", ".tiff", ".webp"})
MAX_PIXELS = 178_956_970  # Pillow's limit against files of a few bytes that claim to be gigapixels
HEAD_BYTES = 1 << 16  # enough for the header of a JPEG in most cases

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers that carry the size
JPEG_COMMON_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive
PNG_START = b"\x89PNG\r\n\x1a\n"
ORIENTATION_TAG = 0x0112

_RGB_FLAG = getattr(cv2, "IMREAD_COLOR_RGB", None)  # since OpenCV 4.11
_DECODE_FLAGS = cv2.IMREAD_IGNORE_ORIENTATION | (cv2.IMREAD_COLOR if _RGB_FLAG is None else _RGB_FLAG)

_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF orientation → what turns the stored image upright
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.rotate(cv2.transpose(image), cv2.ROTATE_180),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


class ImageError(DataError):
    """An image file that cannot be used; ``reason`` says why without the path."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"cannot decode {path}: {reason}", "replace or remove this file")
        self.reason = reason
        self.args = (path, reason)  # what a copy in another process is made from


class _UnusableError(Exception):
    """Carries a reason up to the function that knows the path."""


@dataclass(frozen=True, slots=True)
class _Header:
    """What is known before decoding; height and width as stored, before EXIF orientation."""

    height: int
    width: int
    orientation: int = 1
    sure: bool = False  # the decoder cannot disagree, so that the scan need not decode
    body: int = 0  # offset in the file after which the end marker of a JPEG stands

    @property
    def upright_shape(self) -> tuple[int, int]:
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_image(path: str | Path) -> np.ndarray:
    """Return the image upright, (H, W, 3) uint8 RGB. Raises: ImageError."""
    try:
        return _decode(_read_bytes(path))
    except _UnusableError as error:
        raise ImageError(path, str(error)) from error


def image_shape(path: str | Path) -> tuple[int, int]:
    """Return (height, width) of what ``read_image`` returns. Raises: ImageError.

    A JPEG is judged by its header and end marker, a PNG by its checksums; anything else is decoded.
    """
    try:
        head, tail = _read_ends(path)
        if head.startswith(JPEG_START) and tail == JPEG_END:
            header = _jpeg_header(head)
            if header is not None and header.sure:
                return _checked(header).upright_shape
        data = _read_bytes(path)
        header = _header(data)
        if header.sure:
            _check_complete(data, header)
            return header.upright_shape
        return _decode(data).shape[:2]
    except _UnusableError as error:
        raise ImageError(path, str(error)) from error


def open_regular(path: str | Path) -> io.FileIO:
    """Open a regular file for reading; a pipe, which would be waited for, is an OSError."""
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return open(path, "rb", buffering=0)


def _open(path: str | Path) -> io.FileIO:
    try:
        return open_regular(path)
    except OSError as error:
        raise _UnusableError((error.strerror or str(error)).lower()) from error


def _read_bytes(path: str | Path) -> bytes:
    with _open(path) as file:
        return file.read()


def _read_ends(path: str | Path) -> tuple[bytes, bytes]:
    """Return the first bytes of a file, as many as a header needs, and the last two."""
    with _open(path) as file:
        head = file.read(HEAD_BYTES)
        if len(head) < HEAD_BYTES:
            return head, head[-2:]
        file.seek(-2, os.SEEK_END)
        return head, file.read(2)


def _decode(data: bytes) -> np.ndarray:
    header = _header(data)
    _check_complete(data, header)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _DECODE_FLAGS)
    except cv2.error as error:
        raise _UnusableError(f"OpenCV: {error.err}") from error
    if image is None:
        raise _UnusableError("damaged, or of a kind that OpenCV cannot read")
    if header.sure and image.shape[:2] != (header.height, header.width):
        raise _UnusableError(
            f"decodes to {image.shape[1]}×{image.shape[0]}, its header says {header.width}×{header.height}"
        )
    if _RGB_FLAG is None:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return image if header.orientation == 1 else _UPRIGHT[header.orientation](image)


def _header(data: bytes) -> _Header:
    if data.startswith(JPEG_START):
        header = _jpeg_header(data)
        if header is None:
            raise _UnusableError(f"truncated JPEG ({len(data)} bytes)")
    elif data.startswith(PNG_START):
        header = _png_header(data)
    else:
        header = _pillow_header(data)
    return _checked(header)


def _checked(header: _Header) -> _Header:
    if header.height < 1 or header.width < 1:
        raise _UnusableError(f"its header says {header.width}×{header.height} pixels")
    pixels = header.height * header.width
    if pixels > MAX_PIXELS:
        raise _UnusableError(f"{header.width}×{header.height} pixels; the limit is {MAX_PIXELS // 1_000_000} million")
    return header


def _check_complete(data: bytes, header: _Header) -> None:
    """Refuse a JPEG without end marker (bytes after it are fine), a PNG cut short or with a wrong checksum."""
    if data.startswith(JPEG_START):
        if not data.endswith(JPEG_END) and data.find(JPEG_END, header.body) < 0:
            raise _UnusableError(f"truncated JPEG ({len(data)} bytes, no end marker)")
    elif data.startswith(PNG_START):
        for _, start, size in _png_chunks(data):
            checksum = data[start + size : start + size + 4]
            if zlib.crc32(data[start - 4 : start + size]).to_bytes(4, "big") != checksum:
                raise _UnusableError(f"damaged PNG (wrong checksum of the chunk at byte {start})")


def _jpeg_header(data: bytes) -> _Header | None:
    """Return the header of a JPEG, or None when ``data`` ends before the size."""
    position, orientation = 2, 1
    try:
        while True:
            if data[position] != 0xFF:
                raise _UnusableError(f"damaged JPEG header at byte {position}")
            marker = data[position + 1]
            if marker == 0xFF:  # fill byte
                position += 1
            elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without content
                position += 2
            elif marker in JPEG_FRAMES:
                bits, height, width = struct.unpack_from(">BHH", data, position + 4)
                sure = bits == 8 and marker in JPEG_COMMON_FRAMES
                return _Header(height, width, orientation, sure, body=position)
            else:
                (size,) = struct.unpack_from(">H", data, position + 2)
                if marker == 0xE1 and data.startswith(b"Exif\0\0", position + 4):
                    orientation = _exif_orientation(data[position + 10 : position + 2 + size])
                position += 2 + max(size, 2)
    except (IndexError, struct.error):
        return None


def _png_header(data: bytes) -> _Header:
    height = width = 0
    orientation = 1
    for kind, start, size in _png_chunks(data):
        if kind == b"IHDR" and size == 13:
            width, height = struct.unpack_from(">II", data, start)
        elif kind == b"eXIf":
            orientation = _exif_orientation(data[start : start + size])
        elif kind == b"IDAT":
            return _Header(height, width, orientation, sure=True)
    raise _UnusableError("PNG without image data")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, offset of the content, its size) up to IEND. Raises: _UnusableError when the file ends before."""
    position, kind = len(PNG_START), b""
    while kind != b"IEND":
        size, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if position + 12 + size > len(data):
            raise _UnusableError(f"truncated PNG ({len(data)} bytes)")
        yield kind, position + 8, size
        position += 12 + size


def _pillow_header(data: bytes) -> _Header:
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode == "F":
                raise _UnusableError("32-bit float image: no defined range")
            exif = image.info.get("exif", b"").removeprefix(b"Exif\0\0")  # not of a TIFF, which OpenCV turns upright
            return _Header(image.height, image.width, _exif_orientation(exif))
    except Image.DecompressionBombError as error:
        raise _UnusableError(f"more than {MAX_PIXELS // 1_000_000} million pixels") from error
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise _UnusableError(_what_it_is(data)) from error


def _what_it_is(data: bytes) -> str:
    if not data:
        return "empty file"
    start = data[:512].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "not an image (HTML or XML)"
    return "not an image, or of a kind that cannot be read"


def _exif_orientation(block: bytes) -> int:
    """Return 1–8 from a TIFF block; 1 where the block has none or is broken."""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", block, 4)
        (entries,) = struct.unpack_from(order + "H", block, directory)
        for index in range(entries):
            tag, _, _, value = struct.unpack_from(order + "HHIH", block, directory + 2 + 12 * index)
            if tag == ORIENTATION_TAG:
                return value if value in _UPRIGHT else 1
    except struct.error:
        pass  # the image itself is fine, and it is shown as stored
    return 1
