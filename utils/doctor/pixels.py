"""What the doctor keeps of the content of an image: a thumbnail, how bright it is, how the file stores it."""

import hashlib
import io
import struct
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from utils.data.image.header import ORIENTATION_TAG
from utils.data.image.jpeg import JPEG_START
from utils.data.image.read import COLORS, decode_image, read_image, storage
from utils.pixels import RGB, PixelFormat, as_picture

THUMB = 32  # pixels of a side of the thumbnail that pictures are compared by
ENOUGH = 512  # pixels that a longer side keeps where the decoder can shrink
LOST_GREY = 128  # what libjpeg paints where the data of a picture have ended
REDUCED = {  # how many times smaller → OpenCV's flag
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


@dataclass(frozen=True, slots=True)
class Pixels:
    """The content of an image as far as the checks need it."""

    digest: bytes  # equal for equal files
    thumb: np.ndarray  # (THUMB, THUMB) uint8, grey
    mean: float  # of the grey values, 0–255
    spread: float  # the largest standard deviation of a colour
    is_grey: bool  # the three colours are equal everywhere
    lost: float  # share of the height, from the bottom, for which a JPEG had no data
    mode: str  # Pillow's name of how the file stores a pixel; empty where it does not say
    orientation: int  # EXIF's, 1–8; 1 is upright
    pages: int = 1  # that look like channels, of which the first alone is read


def read_pixels(path: str, format_: PixelFormat = RGB) -> tuple[Pixels, np.ndarray]:
    """Return the facts about an image and its small upright picture (see ``shrunk``). Raises: ImageError, OSError."""
    with open(path, "rb") as file:
        data = file.read()
    mode, orientation, shape = _storage(data)
    small = shrunk(data, path, shape, orientation) if format_ == RGB else as_picture(read_image(path, format_))
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    _, spread = cv2.meanStdDev(small)
    return Pixels(
        digest=hashlib.sha256(data).digest()[:16],
        thumb=cv2.resize(grey, (THUMB, THUMB), interpolation=cv2.INTER_AREA),
        mean=float(grey.mean()),
        spread=float(spread.max()),
        is_grey=_is_grey(small),
        lost=_lost(small) if data.startswith(JPEG_START) and orientation == 1 else 0.0,
        mode=mode,
        orientation=orientation,
        pages=storage(data)[1] if format_.channels in COLORS else 1,
    ), small


def shrunk(data: bytes, name: str, shape: tuple[int, int] | None, orientation: int) -> np.ndarray:
    """Return the picture upright, (h, w, 3) uint8 RGB; a large JPEG comes up to 8 times smaller, which is faster."""
    factor = max((k for k in REDUCED if shape and max(shape) >= k * ENOUGH), default=1)
    if factor > 1 and orientation == 1 and data.startswith(JPEG_START):
        flags = REDUCED[factor] | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if image is not None:
            return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return decode_image(data, name)


def _storage(data: bytes) -> tuple[str, int, tuple[int, int] | None]:
    """Return mode, orientation and (height, width) as the file says them; nothing where Pillow cannot tell."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            # not of a TIFF, which OpenCV turns upright by itself
            orientation = 1 if image.format == "TIFF" else image.getexif().get(ORIENTATION_TAG, 1)
            known = isinstance(orientation, int) and 1 <= orientation <= 8
            return image.mode, orientation if known else 1, (image.height, image.width)
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError):
        return "", 1, None


def _is_grey(image: np.ndarray) -> bool:
    part = image[::4, ::4].astype(np.int16)
    return bool(np.abs(part - part[..., :1]).max(initial=0) <= 2)


def _lost(image: np.ndarray) -> float:
    """Return which share of the rows, from the last one up, is the grey of lost data."""
    kept = np.flatnonzero((image != LOST_GREY).any(axis=(1, 2)))
    return 1 - (int(kept[-1]) + 1) / len(image) if len(kept) else 0.0
