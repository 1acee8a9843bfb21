"""A batch, as both loaders give it."""

import math
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from utils.pixels import PixelFormat

CLIP_EPS = 1e-3  # pixels that keep a box off the right and bottom edge

Shape = tuple[tuple[int, int], tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Batch:
    """Images with their targets; ``shapes`` has (height, width) of each file, ratio (w, h) and half padding (w, h)."""

    images: Tensor  # (B, C, H, W) uint8 or uint16, of three channels RGB, in channels_last memory
    targets: Tensor  # (T, 6) float32 [image index, class, cx, cy, w, h], 0–1
    paths: list[str]
    shapes: list[Shape] | None  # None where augmentation makes them meaningless
    ignored: Tensor = field(default_factory=partial(torch.zeros, 0, 6))  # (K, 6) like targets: regions, see ScanResult

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory; the DataLoader calls this."""
        return replace(self, images=self.images.pin_memory(), targets=self.targets.pin_memory())


def new_pixels(count: int, shape: tuple[int, int], pixels: PixelFormat) -> Tensor:
    """Return memory (count, H, W, C) for the images of a batch, such as another process gets from a worker uncopied."""
    size, dtype = (count, *shape, pixels.channels), torch.from_numpy(np.empty(0, pixels.dtype)).dtype
    if get_worker_info() is None:
        return torch.empty(size, dtype=dtype)
    try:
        storage = torch.UntypedStorage._new_shared(math.prod(size) * dtype.itemsize)  # as PyTorch's collate does
    except RuntimeError:  # shared memory is full, which the loader says
        return torch.empty(size, dtype=dtype)
    return torch.empty(0, dtype=dtype).set_(storage, 0, size)


def as_images(pixels: Tensor | np.ndarray) -> Tensor:
    """Return (B, H, W, C) pixels as (B, C, H, W) without copying: this is what channels_last means."""
    return torch.as_tensor(pixels).permute(0, 3, 1, 2)


def as_targets(labels: list[np.ndarray]) -> Tensor:
    """Return the labels (n_i, 5) of each image as one table (T, 6) that begins with the image's index."""
    counts = [len(rows) for rows in labels]
    targets = np.empty((sum(counts), 6), np.float32)
    targets[:, 0] = np.repeat(np.arange(len(labels)), counts)
    if labels:
        np.concatenate(labels, out=targets[:, 1:], casting="same_kind")
    return torch.from_numpy(targets)


def normalize_boxes(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return xyxy pixel boxes (n, 4), clipped to an image of ``shape`` (h, w), as [cx, cy, w, h] in 0–1."""
    height, width = shape
    limit = np.array([width, height, width, height]) - CLIP_EPS
    clipped = np.clip(boxes, 0, limit)
    low, high = clipped[:, :2], clipped[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], 1) / np.array([width, height, width, height])
