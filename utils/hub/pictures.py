"""Images as a program has them (paths, URLs, PIL images, arrays, tensors), made uniform: RGB, 8 bits, height first."""

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, build_opener

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from utils.data.image.read import decode_image, read_image
from utils.errors import DataError

CHANNELS = (1, 3, 4)  # grey, RGB, RGB with transparency, which is dropped
URL_STARTS = ("http://", "https://")
TIMEOUT_S = 10
MAX_REDIRECTS = 5
MAX_BYTES = 100_000_000  # of an image behind a URL
FIX = "give a path, a URL, a PIL image, or an array or tensor of 8-bit or 0–1 values"


@dataclass(frozen=True)
class Picture:
    """An image, (H, W, 3) uint8 RGB, and the file name that its results get."""

    image: np.ndarray
    name: str


def read_pictures(images: Any) -> list[Picture]:
    """Return one or several images as pictures; those without a file name are called image0, image1, ….

    Arrays are RGB, (H, W), (H, W, C) or (C, H, W); ``image[..., ::-1]`` makes RGB of what OpenCV reads.
    Raises: DataError.
    """
    several = isinstance(images, list | tuple) or (isinstance(images, np.ndarray | Tensor) and images.ndim == 4)
    pictures = [_picture(image, f"image{index}.jpg") for index, image in enumerate(images if several else [images])]
    if not pictures:
        raise DataError("there is no image in the list", FIX)
    return pictures


def _picture(image: Any, name: str) -> Picture:
    if isinstance(image, str | Path):
        text = str(image)
        is_url = text.startswith(URL_STARTS)
        pixels = decode_image(_download(text), text) if is_url else read_image(_existing(Path(image)))
        return Picture(pixels, Path(urlsplit(text).path if is_url else text).name or name)
    if isinstance(image, Image.Image):
        return Picture(_from_pil(image), Path(getattr(image, "filename", "") or name).name)
    if isinstance(image, Tensor):
        image = (image.float() if image.is_floating_point() else image).detach().cpu().numpy()
    if isinstance(image, np.ndarray):
        return Picture(_from_array(image), name)
    raise DataError(f"an image is a {type(image).__name__}", FIX)


def _existing(path: Path) -> Path:
    if path.is_dir():
        raise DataError(
            f"{path}: a folder instead of an image", "list its files, as sorted(Path(folder).glob('*.jpg'))"
        )
    return path


def _from_pil(image: Image.Image) -> np.ndarray:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        return _from_array(np.asarray(upright).astype(np.uint16))
    if upright.mode in ("I", "F"):
        raise DataError(
            f"an image of PIL's mode {upright.mode}, whose range of values is not known", "convert it to RGB"
        )
    return np.ascontiguousarray(upright.convert("RGB"))


def _from_array(array: np.ndarray) -> np.ndarray:
    """Return an array of one of the known layouts and ranges as (H, W, 3) uint8."""
    shape = array.shape
    if array.ndim == 2:
        array = array[..., None]
    elif array.ndim == 3 and shape[2] not in CHANNELS and shape[0] in CHANNELS:
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in CHANNELS or 0 in shape:
        raise DataError(f"an image of shape {shape}", "give (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels")
    pixels = _as_bytes(array)
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]
    return np.ascontiguousarray(pixels)


def _as_bytes(array: np.ndarray) -> np.ndarray:
    """Return values as 8 bits: floats in 0–1 are scaled, 16 bits keep their high byte."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    low, high = float(array.min()), float(array.max())
    if array.dtype == bool or not 0 <= low <= high <= 255:  # nan is in no range
        raise DataError(f"an image of {array.dtype} values from {low:g} to {high:g}", "give 0–255, or floats in 0–1")
    scale = 255 if array.dtype.kind == "f" and high <= 1 else 1
    return np.rint(array.astype(np.float32) * scale).astype(np.uint8)


class _NoRedirect(HTTPRedirectHandler):
    """Leaves redirects to ``_download``, which looks at each target first."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _download(url: str) -> bytes:
    """Return what lies behind a URL. Raises: DataError, also for an address that is not public."""
    opener = build_opener(_NoRedirect)
    for _ in range(MAX_REDIRECTS + 1):
        _check_public(url)
        try:
            with opener.open(url, timeout=TIMEOUT_S) as response:
                content = response.read(MAX_BYTES + 1)
        except HTTPError as error:
            if error.code in (301, 302, 303, 307, 308) and "Location" in error.headers:
                url = urljoin(url, error.headers["Location"])
                continue
            raise DataError(f"{url}: cannot be downloaded ({error})", "check the URL in a browser") from error
        except (OSError, ValueError) as error:
            raise DataError(f"{url}: cannot be downloaded ({error})", "check the URL in a browser") from error
        if len(content) > MAX_BYTES:
            raise DataError(f"{url}: more than {MAX_BYTES // 1_000_000} MB", "download it, and give the path")
        return content
    raise DataError(f"{url}: redirected more than {MAX_REDIRECTS} times", "give the URL of the image itself")


def _check_public(url: str) -> None:
    """Refuse a URL of this machine or its own network: a service that takes URLs would open doors with them."""
    host = urlsplit(url).hostname
    if not url.startswith(URL_STARTS) or not host:
        raise DataError(f"{url}: not the URL of an image", "give http://… or https://…")
    addresses = _addresses(host)
    private = [address for address in addresses if not ipaddress.ip_address(address).is_global]
    if private or not addresses:
        what = f"{host} is {private[0]}, which is not a public address" if private else f"{host} is not known"
        raise DataError(f"{url}: {what}", "download the image, and give its path")


def _addresses(host: str) -> list[str]:
    try:
        return [entry[4][0].partition("%")[0] for entry in socket.getaddrinfo(host, None)]
    except OSError:
        return []


def names_of(pictures: Iterable[Picture]) -> list[str]:
    """Return a file name for the drawn picture of each, in JPEG."""
    return [str(Path(picture.name).with_suffix(".jpg")) for picture in pictures]
