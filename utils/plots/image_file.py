"""Write images into files."""

import logging
import math
from pathlib import Path

import cv2
import numpy as np

from utils.errors import OutputError
from utils.runs import atomic_write

log = logging.getLogger(__name__)

MAX_SIDE = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383}  # pixels, where the format has a limit
LARGE = ".png"
JPEG_SUFFIXES = {".jpg", ".jpeg"}
SUFFIXES = JPEG_SUFFIXES | {".png", ".bmp", ".webp", ".tif", ".tiff"}  # other formats cannot be relied on in OpenCV


def write_image(path: str | Path, image: np.ndarray, *, quality: int = 95, full_chroma: bool = False) -> None:
    """Write an RGB image in the format that the suffix names; ``full_chroma`` keeps a JPEG's colours at full size.

    An image that the format cannot hold, such as a JPEG of more than 65,500 pixels a side, becomes a PNG, which is
    logged. Raises: OutputError when it cannot be encoded, StorageError when it cannot be stored.
    """
    path = Path(path)
    data = _encode(path.suffix, image, quality, full_chroma)
    if data is None:
        height, width = image.shape[:2]
        what = f"an image of {width}×{height} pixels cannot be encoded in this format"
        data = _encode(LARGE, image, quality, full_chroma)
        if data is None:
            raise OutputError(f"{path}: {what}", "use a smaller image")
        log.warning("%s: %s; written as %s", path, what, LARGE)
        path = path.with_suffix(LARGE)
    with atomic_write(path, sync=False) as temporary:
        temporary.write_bytes(data)


def _encode(suffix: str, image: np.ndarray, quality: int, full_chroma: bool) -> np.ndarray | None:
    if max(image.shape[:2]) > MAX_SIDE.get(suffix.lower(), math.inf):
        return None
    parameters = []
    if suffix.lower() in JPEG_SUFFIXES:
        parameters = [cv2.IMWRITE_JPEG_QUALITY, quality]
        if full_chroma:
            parameters += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    try:
        done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), parameters)
    except cv2.error:
        return None
    return data if done else None
