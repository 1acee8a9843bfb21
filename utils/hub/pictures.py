"""Images as a program has them (paths, URLs, PIL images, arrays, tensors), as a model takes them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from utils.data.image.read import decode_image, read_image
from utils.data.remote import download, is_url, url_name
from utils.errors import DataError
from utils.pixels import RGB, PixelFormat, to_colors, with_bits

COLORS = (1, 3, 4)  # grey, RGB, RGB with transparency, which is dropped: for models of one or three channels
FIX = "give a path, a URL, a PIL image, or an array or tensor of 8-bit or 0–1 values"


@dataclass(frozen=True)
class Picture:
    """An image, (H, W, C) of the type that the model takes, RGB uint8, and the file name that its results get."""

    image: np.ndarray
    name: str


def read_pictures(images: Any, pixels: PixelFormat = RGB) -> list[Picture]:
    """Return one or several images as pictures; those without a file name are called image0, image1, ….

    Arrays are (H, W), (H, W, C) or (C, H, W), RGB or of the channels of ``pixels``; ``image[..., ::-1]`` makes RGB of
    what OpenCV reads.
    Raises: DataError.
    """
    several = isinstance(images, list | tuple) or (isinstance(images, np.ndarray | Tensor) and images.ndim == 4)
    pictures = [
        _picture(image, f"image{index}.jpg", pixels) for index, image in enumerate(images if several else [images])
    ]
    if not pictures:
        raise DataError("there is no image in the list", FIX)
    return pictures


def _picture(image: Any, name: str, pixels: PixelFormat) -> Picture:
    if isinstance(image, str | Path):
        text = str(image)
        if is_url(text):
            return Picture(decode_image(download(text), text, pixels), url_name(text) or name)
        return Picture(read_image(_existing(Path(image)), pixels), Path(text).name or name)
    if isinstance(image, Image.Image):
        return Picture(_from_pil(image, pixels), Path(getattr(image, "filename", "") or name).name)
    if isinstance(image, Tensor):
        image = (image.float() if image.is_floating_point() else image).detach().cpu().numpy()
    if isinstance(image, np.ndarray):
        return Picture(_from_array(image, pixels), name)
    raise DataError(f"an image is a {type(image).__name__}", FIX)


def _existing(path: Path) -> Path:
    if path.is_dir():
        raise DataError(
            f"{path}: a folder instead of an image", "list its files, as sorted(Path(folder).glob('*.jpg'))"
        )
    return path


def _from_pil(image: Image.Image, pixels: PixelFormat) -> np.ndarray:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        return _from_array(np.asarray(upright).astype(np.uint16), pixels)
    if upright.mode in ("I", "F"):
        raise DataError(
            f"an image of PIL's mode {upright.mode}, whose range of values is not known", "convert it to RGB"
        )
    if pixels.channels in (1, 3):
        upright = upright.convert("RGB" if pixels.channels == 3 else "L")
    return _from_array(np.asarray(upright), pixels)


def _from_array(array: np.ndarray, pixels: PixelFormat) -> np.ndarray:
    """Return an array of one of the known layouts and ranges as (H, W, C) of ``pixels``."""
    shape, known = array.shape, COLORS if pixels.channels in (1, 3) else (pixels.channels,)
    if array.ndim == 2:
        array = array[..., None]
    elif array.ndim == 3 and shape[2] not in known and shape[0] in known:
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in known or 0 in shape:
        channels = " or ".join(filter(None, (", ".join(map(str, known[:-1])), str(known[-1]))))
        raise DataError(f"an image of shape {shape}", f"give (H, W), (H, W, C) or (C, H, W) with {channels} channels")
    values = _as_bits(array, pixels.bits)
    values = to_colors(values, pixels.channels) if pixels.channels in (1, 3) else values
    return np.ascontiguousarray(values)


def _as_bits(array: np.ndarray, bits: int) -> np.ndarray:
    """Return values as 8 or 16 bits: floats in 0–1 are scaled, of too many bits the upper ones are kept."""
    if array.dtype in (np.uint8, np.uint16):
        return with_bits(array, bits)
    low, high = float(array.min()), float(array.max())
    if array.dtype == bool or not 0 <= low <= high <= 255:  # nan is in no range
        raise DataError(f"an image of {array.dtype} values from {low:g} to {high:g}", "give 0–255, or floats in 0–1")
    largest = np.iinfo(np.uint8 if bits == 8 else np.uint16).max
    scale = largest if array.dtype.kind == "f" and high <= 1 else largest // 255
    return np.rint(array.astype(np.float32) * scale).astype(np.uint8 if bits == 8 else np.uint16)


def names_of(pictures: Iterable[Picture]) -> list[str]:
    """Return a file name for the drawn picture of each, in JPEG."""
    return [str(Path(picture.name).with_suffix(".jpg")) for picture in pictures]
