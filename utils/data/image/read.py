"""Read an image: the one decoder of the data-set scan, training, validation and detection.

JPEG and PNG headers are read by our own code, because this costs microseconds, and tell where the decoder could refuse
the file; Pillow reads the headers of the rest, and OpenCV decodes everything. So what ``image_shape`` lets pass,
``read_image`` reads. A file that is cut short is refused whatever the OpenCV version makes of it.

Where three channels are wanted, gray, palette and CMYK become RGB; where one is, colours become gray. Then transparency
is dropped, and of several pages the first is read. Any other number of channels is what a file must have itself. Where
8 bits are wanted, 16-bit values keep their high byte.
"""

import errno
import io
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from utils.data.image.array_file import ARRAY_START, array_header, array_pixels
from utils.data.image.header import Header, UnusableError, exif_orientation
from utils.data.image.jpeg import JPEG_END, JPEG_START, jpeg_header
from utils.data.image.png import PNG_START, check_checksums, png_header
from utils.data.image.tiff import TIFF_STARTS, is_misread, tiff_pixels, tiff_storage
from utils.errors import DataError
from utils.pixels import RGB, PixelFormat, to_colors, with_bits
from utils.text import counted

IMAGE_SUFFIXES = frozenset({".bmp", ".dng", ".jpeg", ".jpg", ".mpo", ".pfm", ".png", ".tif", ".tiff", ".webp"})
ARRAY_SUFFIX = ".npy"
MAX_PIXELS = 178_956_970  # Pillow's limit against files of a few bytes that claim to be gigapixels
COLORS = (1, 3)  # channels that any picture can be had with
HEAD_BYTES = 1 << 16  # enough for the header of a JPEG in most cases

_RGB_FLAG = getattr(cv2, "IMREAD_COLOR_RGB", None)  # since OpenCV 4.11
_DECODE_FLAGS = cv2.IMREAD_IGNORE_ORIENTATION | (cv2.IMREAD_COLOR if _RGB_FLAG is None else _RGB_FLAG)
_GREY_FLAGS = cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH

_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF orientation → what turns the stored image upright
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.rotate(cv2.transpose(image), cv2.ROTATE_180),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


class ImageFacts(NamedTuple):
    """What a file is: height and width of what ``read_image`` returns, bits of its values, pages that may be channels.

    Of these the first alone is read where 1 or 3 channels are wanted.
    """

    shape: tuple[int, int]
    bits: int = 8
    pages: int = 1


class ImageError(DataError):
    """An image file that cannot be used; ``reason`` says why without the path."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"cannot decode {path}: {reason}", "replace or remove this file")
        self.reason = reason
        self.args = (path, reason)  # what a copy in another process is made from


def image_suffixes(pixels: PixelFormat = RGB) -> frozenset[str]:
    """Return how the names of files with such images end."""
    return IMAGE_SUFFIXES | {ARRAY_SUFFIX} if pixels.has_arrays else IMAGE_SUFFIXES


def read_image(path: str | Path, pixels: PixelFormat = RGB) -> np.ndarray:
    """Return the image upright, (H, W, C) of the type that ``pixels`` says, (H, W, 3) uint8 RGB. Raises: ImageError."""
    try:
        return _decode(_read_bytes(path), pixels)
    except UnusableError as error:
        raise ImageError(path, str(error)) from error


def decode_image(data: bytes, name: str, pixels: PixelFormat = RGB) -> np.ndarray:
    """Return the image in the bytes of a file, as ``read_image``; ``name`` stands in errors. Raises: ImageError."""
    try:
        return _decode(data, pixels)
    except UnusableError as error:
        raise ImageError(name, str(error)) from error


def image_shape(path: str | Path, pixels: PixelFormat = RGB) -> tuple[int, int]:
    """Return (height, width) of what ``read_image`` returns. Raises: ImageError."""
    return image_facts(path, pixels).shape


def image_facts(path: str | Path, pixels: PixelFormat = RGB) -> ImageFacts:
    """Return what a file is. Raises: ImageError.

    A common JPEG is judged by its header and end marker, a progressive one by all its segments, a PNG by its chunks and
    their checksums, an array by its header; anything else is decoded, and so is what must have more channels.
    """
    try:
        head, tail = _read_ends(path)
        if head.startswith(ARRAY_START) and pixels.has_arrays:
            header = array_header(head, os.stat(path).st_size)  # noqa: PTH116 - as below
            _check_channels(header.shape[2], pixels)
            return ImageFacts(header.shape[:2], header.dtype.itemsize * 8)
        if pixels.channels not in COLORS:
            data = _read_bytes(path)
            return ImageFacts(_decode(data, pixels).shape[:2], storage(data)[0])
        if head.startswith(JPEG_START) and tail == JPEG_END:
            header = jpeg_header(head)
            if header is not None and header.sure:
                return ImageFacts(_checked(header).upright_shape)
        data = _read_bytes(path)
        header = _header(data)
        if header.sure:
            _check_complete(data, header)
            return ImageFacts(header.upright_shape, *storage(data))
        return ImageFacts(_decode(data, pixels).shape[:2], *storage(data))
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


def _decode(data: bytes, pixels: PixelFormat) -> np.ndarray:
    if data.startswith(ARRAY_START) and pixels.has_arrays:
        image = array_pixels(data)
        _check_channels(image.shape[2], pixels)
    elif pixels.channels in COLORS:
        image = _decode_colors(data, pixels)
    else:
        image = _decode_all(data)
        _check_channels(image.shape[2], pixels)
    return with_bits(image, pixels.bits)


def _check_channels(found: int, pixels: PixelFormat) -> None:
    if found != pixels.channels:
        raise UnusableError(f"{counted(found, 'channel')} instead of {pixels.channels}")


def _decode_colors(data: bytes, pixels: PixelFormat) -> np.ndarray:
    """Return RGB (H, W, 3), or grey (H, W, 1) where one channel is wanted; the bits may be those of the file."""
    header = _header(data)
    _check_complete(data, header)
    if data[:4] in TIFF_STARTS and is_misread(data, pixels.bits):
        image = _upright(tiff_pixels(data, only_first=True), exif_orientation(data))
        return to_colors(image, pixels.channels)
    if pixels.channels == 1:
        image = _imdecode(data, _GREY_FLAGS)
    else:
        image = _imdecode(data, _DECODE_FLAGS | (cv2.IMREAD_ANYDEPTH if pixels.bits > 8 else 0))
    if header.sure and image.shape[:2] != (header.height, header.width):
        raise UnusableError(
            f"decodes to {image.shape[1]}×{image.shape[0]}, its header says {header.width}×{header.height}"
        )
    if _RGB_FLAG is None and pixels.channels == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    image = image if header.orientation == 1 else _UPRIGHT[header.orientation](image)
    return image if image.ndim == 3 else image[..., None]


def _decode_all(data: bytes) -> np.ndarray:
    """Return (H, W, C) with all the channels of the file; of four, the first three are RGB where they are colours."""
    if data[:4] in TIFF_STARTS:
        return _upright(tiff_pixels(data), exif_orientation(data))
    header = _header(data)
    _check_complete(data, header)
    image = _imdecode(data, cv2.IMREAD_UNCHANGED)
    image = image[..., None] if image.ndim == 2 else image
    if image.shape[2] == 4:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)
    return _upright(image, header.orientation)


def _imdecode(data: bytes, flags: int) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise UnusableError(f"OpenCV: {error.err}") from error
    if image is None:
        raise UnusableError("damaged, or of a kind that OpenCV cannot read")
    if image.dtype not in (np.uint8, np.uint16):
        raise UnusableError(f"{image.dtype} values: no defined range")
    return image


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn (H, W, C) of any number of channels, which OpenCV does not."""
    if orientation == 1:
        return image
    height, width, channels = image.shape
    places = _UPRIGHT[orientation](np.arange(height * width, dtype=np.int32).reshape(height, width))
    return image.reshape(-1, channels)[places]


def storage(data: bytes) -> tuple[int, int]:
    """Return 16 for a file whose values have more than 8 bits, else 8; and how many of its pages may be channels."""
    if data.startswith(PNG_START):
        return (16 if data[24] == 16 else 8), 1
    return tiff_storage(data) if data[:4] in TIFF_STARTS else (8, 1)


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
