"""Pictures from which the ranges of the numbers inside a network are read, for computing in 8-bit integers."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from utils.data.image_store import ImageStore
from utils.data.scan.scan import scan_split
from utils.data.scan.scan_result import ScanResult
from utils.data.scan.spec import DataSpec
from utils.data.val_batches import ValBatches
from utils.device import to_float_images
from utils.progress import progress_bar

log = logging.getLogger(__name__)

IMAGES = 128  # spread evenly over a data set, so that they are the same every time


class CalibrationImages:
    """Batches (B, C, H, W) float32 in 0–1 of letterboxed images, each made when it is asked for.

    A network for B images takes no fewer: the last batch is filled up with the first images.
    """

    def __init__(self, scan: ScanResult, shape: Sequence[int], data: str) -> None:
        self.data = data  # the data set, to be named
        self.count = min(IMAGES, len(scan))
        chosen = spread(len(scan), IMAGES)
        chosen = np.resize(chosen, -(-len(chosen) // shape[0]) * shape[0])
        scan = scan.take(chosen)
        store = ImageStore(scan.image_paths, scan.shapes, shape[2:], smooth=True, pixels=scan.pixels)
        self.batches = ValBatches(scan, store, shape[0], stride=1, rect=False, pad=0)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Show how many are done. Raises: DataError for a file that has changed."""
        with progress_bar(range(len(self)), f"{'calibration':>22}", stays=False) as numbers:
            for number in numbers:
                images = to_float_images(self.batches[0, number].images, torch.device("cpu"))
                yield images.contiguous().numpy()


def calibration_images(data: DataSpec, shape: Sequence[int]) -> CalibrationImages:
    """Return training images of a data set, ``shape`` (B, C, H, W) being that of the export. Raises: DataError."""
    scan = scan_split(data, data.train)
    images = CalibrationImages(scan, shape, data.file.name)
    log.info("calibrating with %d of the %d training images of %s", images.count, len(scan), data.file.name)
    return images


def spread(count: int, most: int) -> np.ndarray:
    """Return at most so many of ``count`` indices, at even distances."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)
