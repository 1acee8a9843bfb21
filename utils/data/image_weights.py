"""How often each training image is shown: the more, the rarer its classes are and the worse they are detected yet."""

from collections.abc import Sequence

import numpy as np
import torch

from utils.data.mosaic.ragged import Ragged
from utils.errors import StorageError


class ImageWeights:
    """Draws training images with replacement; image i has the chance Σ over its objects of their class's weight.

    The chances lie in memory that processes share: workers that live for the whole run draw by an ``update`` from their
    next batch on, so there may be one only between two epochs. An image without objects is never drawn.
    """

    def __init__(self, labels: Sequence[np.ndarray], nc: int) -> None:
        """Take the labels (n, 5) [class, …] of every image, at least one in all. Raises: StorageError."""
        rows = Ragged.join(labels, 5)
        self._classes, self._owner, self._images = rows.values[:, 0].astype(np.int64), rows.owner, len(rows)
        self._chances = _shared_zeros(len(rows))
        self.class_weights = inverse_frequencies(np.bincount(self._classes, minlength=nc))
        self.maps = np.zeros(nc)  # mAP50-95 (nc,) of each class that the chances are made of
        self.update(self.maps)

    def update(self, maps: np.ndarray) -> None:
        """Make the chances anew from the mAP50-95 (nc,) of each class in the last validation."""
        self.maps = np.array(maps, np.float64)
        weights = self.class_weights * (1 - self.maps) ** 2 / len(self.maps)
        if not weights[self._classes].any():  # nothing is left to detect better
            weights = self.class_weights
        upper = np.cumsum(np.bincount(self._owner, weights[self._classes], minlength=self._images))
        self._chances.numpy()[:] = upper / upper[-1]

    def draw(self, numbers: np.ndarray) -> np.ndarray:
        """Return an image for each of the uniform ``numbers`` in [0, 1), of any shape."""
        return np.searchsorted(self._chances.numpy(), numbers, side="right")


def inverse_frequencies(counts: np.ndarray) -> np.ndarray:
    """Return weights (nc,) of mean 1 inverse to the ``counts`` of objects; a class without any counts as having one."""
    inverse = 1 / np.maximum(counts, 1)
    return inverse / inverse.sum() * len(counts)


def _shared_zeros(count: int) -> torch.Tensor:
    try:
        return torch.zeros(count, dtype=torch.float64).share_memory_()
    except RuntimeError as error:
        raise StorageError(
            "shared memory (/dev/shm) is full, and image weights need some", "free some, or give the container more"
        ) from error
