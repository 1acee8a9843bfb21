"""Write images into files."""

from pathlib import Path

import cv2
import numpy as np

from utils.errors import StorageError
from utils.runs import atomic_write

JPEG_SUFFIXES = {".jpg", ".jpeg"}
SUFFIXES = JPEG_SUFFIXES | {".png", ".bmp", ".webp", ".tif", ".tiff"}  # other formats cannot be relied on in OpenCV


def write_image(path: str | Path, image: np.ndarray, *, quality: int = 95, full_chroma: bool = False) -> None:
    """Write an RGB image in the format that the suffix names; ``full_chroma`` keeps a JPEG's colours at full size.

    Raises: StorageError when it cannot be encoded or stored.
    """
    path = Path(path)
    parameters = []
    if path.suffix.lower() in JPEG_SUFFIXES:
        parameters = [cv2.IMWRITE_JPEG_QUALITY, quality]
        if full_chroma:
            parameters += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    try:
        done, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), parameters)
    except cv2.error:
        done, data = False, None
    if not done:
        height, width = image.shape[:2]
        raise StorageError(f"{path}: an image of {width}×{height} pixels cannot be encoded in this format")
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
