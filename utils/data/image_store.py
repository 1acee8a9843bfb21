"""The images of a data set, at most as large as the network needs them, from their files or from a cache.

The data set's folders are only read. The disk cache lies in the user's cache folder and knows a file by its path, size
and time of change, so that a changed image is decoded again.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from utils.data.image.read import read_image
from utils.data.memory import available_memory
from utils.errors import ConfigError, DataError
from utils.imgsz import both_sides
from utils.pixels import RGB, PixelFormat, resize
from utils.runs import atomic_write, cache_dir

log = logging.getLogger(__name__)

CACHES = (None, "ram", "disk")
SPARE = 1.1  # a cache is used when it would fit this many times
GIB = 2**30


class ImageStore:
    """Image i, (h, w, C) as ``pixels`` says, at most as large as fits ``imgsz``: larger ones are shrunk.

    ``imgsz`` is the side of a square or (height, width), ``shape`` the latter; ``shapes`` (N, 2) [h, w] are those of
    the files. ``smooth`` averages whenever an image is shrunk (validation), otherwise only below half its size, where
    plain interpolation would skip pixels (training: five times as fast).
    """

    def __init__(
        self,
        paths: Sequence[str],
        shapes: np.ndarray,
        imgsz: int | Sequence[int],
        cache: str | None = None,
        smooth: bool = False,
        pixels: PixelFormat = RGB,
    ) -> None:
        if cache not in CACHES:
            raise ConfigError(f"unknown cache {cache!r}", "use ram or disk, or leave it out")
        self.paths, self.shapes, self.smooth = list(paths), np.asarray(shapes), smooth
        self.shape, self.pixels = both_sides(imgsz), pixels
        self.sizes = nominal_sizes(shapes, self.shape)
        self.stored_sizes = _stored_sizes(self.sizes, self.shapes)
        need = stored_bytes(self.shapes, self.shape, pixels)
        self.cache = cache if cache and _fits(cache, need) else None
        self._images: list[np.ndarray] | None = None
        if self.cache == "ram":
            log.info("caching %d images in RAM, %.1f GiB", len(self.paths), need / GIB)
            with ThreadPoolExecutor(max(os.cpu_count() or 1, 1)) as pool:
                self._images = list(pool.map(self._decode, range(len(self.paths))))

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, index: int) -> np.ndarray:
        """Return image ``index``; it may be the cached one, so it must not be changed. Raises: DataError."""
        if self._images is not None:
            return self._images[index]
        return self._from_disk(index) if self.cache == "disk" else self._decode(index)

    def _decode(self, index: int) -> np.ndarray:
        image = read_image(self.paths[index], self.pixels)
        if image.shape[:2] != tuple(self.shapes[index]):
            raise DataError(f"{self.paths[index]}: changed after the data set was scanned", "start again")
        width, height = self.stored_sizes[index].tolist()
        if (height, width) == image.shape[:2]:
            return image
        averaging = self.smooth or max(width, height) < 0.5 * max(image.shape[:2])
        return resize(image, (width, height), cv2.INTER_AREA if averaging else cv2.INTER_LINEAR)

    def _from_disk(self, index: int) -> np.ndarray:
        file = self._cache_file(index)
        width, height = self.stored_sizes[index].tolist()
        if file.exists():
            image = _read_array(file)
            if (
                image is not None
                and image.shape == (height, width, self.pixels.channels)
                and image.dtype == self.pixels.dtype
            ):
                return image
        image = self._decode(index)
        with atomic_write(file) as temporary:
            np.save(temporary, image, allow_pickle=False)
        return image

    def _cache_file(self, index: int) -> Path:
        path, size = Path(self.paths[index]), self.stored_sizes[index].tolist()
        facts = path.stat()
        key = f"{path.absolute()}|{facts.st_size}|{facts.st_mtime_ns}|{size}|{self.smooth}{_suffix(self.pixels)}"
        return cache_dir("images") / f"{hashlib.sha256(key.encode(errors='surrogateescape')).hexdigest()[:40]}.npy"


def nominal_sizes(shapes: np.ndarray, imgsz: int | Sequence[int]) -> np.ndarray:
    """Return (N, 2) [w, h]: the sizes that labels are placed with, as large as fits ``imgsz``, rounded up.

    One side is that of ``imgsz``, which is the side of a square or (height, width).
    """
    shapes = np.asarray(shapes, np.int64)
    limit, side = limiting_sides(shapes, both_sides(imgsz))
    return -(-shapes[:, ::-1] * limit // side)


def stored_bytes(shapes: np.ndarray, imgsz: int | Sequence[int], pixels: PixelFormat = RGB) -> int:
    """Return the bytes of all images of a store, of which the files have ``shapes`` (N, 2) [h, w]."""
    stored = _stored_sizes(nominal_sizes(shapes, imgsz), shapes)
    return pixels.bytes_per_pixel * int(stored.prod(1, dtype=np.int64).sum())


def _stored_sizes(sizes: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Return (N, 2) [w, h]: small images stay as they are."""
    return np.minimum(sizes, np.asarray(shapes)[:, ::-1])


def limiting_sides(shapes: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, 1) how long the side of each image is in ``shape`` (h, w) that reaches its edges first, and is now.

    ``shapes`` (N, 2) [h, w] of the images.
    """
    (height, width), (heights, widths) = shape, np.split(shapes, 2, axis=1)
    is_wide = widths * height > heights * width
    return np.where(is_wide, width, height), np.where(is_wide, widths, heights)


def _suffix(pixels: PixelFormat) -> str:
    """Return what tells cached images of other formats apart; RGB ones are called as before there were others."""
    return "" if pixels == RGB else f"|{pixels}"


def _read_array(file: Path) -> np.ndarray | None:
    try:
        return np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        log.warning("%s: damaged (%s), written again", file, error)
        return None


def _fits(cache: str, need: int) -> bool:
    """Say in the log if a cache of ``need`` bytes is too large to be used."""
    free = available_memory() if cache == "ram" else free_disk()
    if free is None or need * SPARE < free:
        return True
    log.warning(
        "images are not cached: %.1f GiB would be needed, %.1f GiB of %s are free",
        need * SPARE / GIB,
        free / GIB,
        "RAM" if cache == "ram" else "disk",
    )
    return False


def free_disk() -> int:
    """Return the bytes that the cache folder's disk still has."""
    return shutil.disk_usage(cache_dir("images")).free
