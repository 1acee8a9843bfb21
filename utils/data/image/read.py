"""Read an image: the one decoder of the data-set scan, training, validation and detection.

JPEG and PNG headers are read by our own code, because this costs microseconds, and tell where the decoder could refuse
the file; Pillow reads the headers of the rest, and OpenCV decodes everything. So what ``image_shape`` lets pass,
``read_image`` reads. A file that is cut short is refused whatever the OpenCV version makes of it. Gray, palette and
CMYK become RGB, transparency is dropped, 16-bit values keep their high byte, and of several pages the first is read.
"""

import errno
import io
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from utils.data.image.header import Header, UnusableError, exif_orientation
from utils.data.image.jpeg import JPEG_END, JPEG_START, jpeg_header
from utils.data.image.png import PNG_START, check_checksums, png_header
from utils.errors import DataError

IMAGE_SUFFIXES = frozenset({".bmp", ".dng", ".jpeg", ".jpg", ".mpo", ".pfm", ".png", ".tif", ".tiff", ".webp"})
MAX_PIXELS = 178_956_970  # Pillow's limit against files of a few bytes that claim to be gigapixels
HEAD_BYTES = 1 << 16  # enough for the header of a JPEG in most cases

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


def read_image(path: str | Path) -> np.ndarray:
    """Return the image upright, (H, W, 3) uint8 RGB. Raises: ImageError."""
    try:
        return _decode(_read_bytes(path))
    except UnusableError as error:
        raise ImageError(path, str(error)) from error


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Return the image in the bytes of a file, as ``read_image``; ``name`` stands in errors. Raises: ImageError."""
    try:
        return _decode(data)
    except UnusableError as error:
        raise ImageError(name, str(error)) from error


def image_shape(path: str | Path) -> tuple[int, int]:
    """Return (height, width) of what ``read_image`` returns. Raises: ImageError.

    A common JPEG is judged by its header and end marker, a progressive one by all its segments, a PNG by its chunks and
    their checksums; anything else is decoded.
    """
    try:
        head, tail = _read_ends(path)
        if head.startswith(JPEG_START) and tail == JPEG_END:
            header = jpeg_header(head)
            if header is not None and header.sure:
                return _checked(header).upright_shape
        data = _read_bytes(path)
        header = _header(data)
        if header.sure:
            _check_complete(data, header)
            return header.upright_shape
        return _decode(data).shape[:2]
    except UnusableError as error:
        raise ImageError(path, str(error)) from error


def open_regular(path: str | Path) -> io.FileIO:
    """Open a regular file for reading; a pipe, which would be waited for, is an OSError."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - making a Path takes longer than the call
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return open(path, "rb", buffering=0)


def why(error: OSError) -> str:
    """Return why a file cannot be read, as the end of a sentence."""
    return (error.strerror or str(error)).lower()


def _open(path: str | Path) -> io.FileIO:
    try:
        return open_regular(path)
    except OSError as error:
        raise UnusableError(why(error)) from error


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
        raise UnusableError(f"OpenCV: {error.err}") from error
    if image is None:
        raise UnusableError("damaged, or of a kind that OpenCV cannot read")
    if header.sure and image.shape[:2] != (header.height, header.width):
        raise UnusableError(
            f"decodes to {image.shape[1]}×{image.shape[0]}, its header says {header.width}×{header.height}"
        )
    if _RGB_FLAG is None:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return image if header.orientation == 1 else _UPRIGHT[header.orientation](image)


def _header(data: bytes) -> Header:
    if data.startswith(JPEG_START):
        header = jpeg_header(data)
        if header is None:
            raise UnusableError(f"truncated JPEG ({len(data)} bytes)")
    elif data.startswith(PNG_START):
        header = png_header(data)
    else:
        header = _pillow_header(data)
    return _checked(header)


def _checked(header: Header) -> Header:
    if header.height < 1 or header.width < 1:
        raise UnusableError(f"its header says {header.width}×{header.height} pixels")
    pixels = header.height * header.width
    if pixels > MAX_PIXELS:
        raise UnusableError(f"{header.width}×{header.height} pixels; the limit is {MAX_PIXELS // 1_000_000} million")
    return header


def _check_complete(data: bytes, header: Header) -> None:
    """Refuse a JPEG without end marker (bytes after it are fine), a PNG cut short or with a wrong checksum."""
    if data.startswith(JPEG_START):
        if not data.endswith(JPEG_END) and data.find(JPEG_END, header.body) < 0:
            raise UnusableError(f"truncated JPEG ({len(data)} bytes, no end marker)")
    elif data.startswith(PNG_START):
        check_checksums(data)


def _pillow_header(data: bytes) -> Header:
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode == "F":
                raise UnusableError("32-bit float image: no defined range")
            exif = image.info.get("exif", b"").removeprefix(b"Exif\0\0")  # not of a TIFF, which OpenCV turns upright
            return Header(image.height, image.width, exif_orientation(exif))
    except Image.DecompressionBombError as error:
        raise UnusableError(f"more than {MAX_PIXELS // 1_000_000} million pixels") from error
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise UnusableError(_what_it_is(data)) from error


def _what_it_is(data: bytes) -> str:
    if not data:
        return "empty file"
    start = data[:512].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "not an image (HTML or XML)"
    return "not an image, or of a kind that cannot be read"
