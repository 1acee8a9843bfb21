"""Batches for validation: letterboxed images of similar proportions side by side, so that little border is computed."""

import numpy as np

from utils.data.batch import Batch, Shape, as_images, as_targets, new_pixels, normalize_boxes
from utils.data.image_store import ImageStore
from utils.data.letterbox import border, fit, paste
from utils.data.order import rect_batches
from utils.data.scan.scan_result import ScanResult


class ValBatches:
    """Batch i of a data set, always the same. In ``shapes`` (n, 2) [h, w] lies the size of every batch."""

    def __init__(self, scan: ScanResult, store: ImageStore, batch_size: int, stride: int, rect: bool, pad: float):
        self.scan, self.store, self.batch_size = scan, store, batch_size
        if rect:
            self.order, self.shapes = rect_batches(store.shapes, batch_size, store.shape, stride, pad)
        else:
            self.order = np.arange(len(store))
            self.shapes = np.tile(store.shape, (-(-len(store) // batch_size), 1))

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        _, batch = key  # every epoch is alike
        members = self.order[batch * self.batch_size : (batch + 1) * self.batch_size].tolist()
        shape = tuple(self.shapes[batch].tolist())
        images = new_pixels(len(members), shape, self.store.pixels)
        pixels = images.numpy()
        pixels.fill(border(pixels.dtype))
        labels, ignored, shapes = [], [], []
        for canvas, index in zip(pixels, members, strict=True):
            rows, regions, place = self._place(canvas, index)
            labels.append(rows)
            ignored.append(regions)
            shapes.append(place)
        paths = [self.store.paths[i] for i in members]
        return Batch(as_images(images), as_targets(labels), paths, shapes, as_targets(ignored))

    def _place(self, canvas: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray, Shape]:
        """Write an image into ``canvas`` (H, W, C), in place.

        Return its labels there, its regions that are no labels, and how it was placed.
        """
        width, height = self.store.sizes[index].tolist()
        place = fit((height, width), canvas.shape[:2], scaleup=False)
        paste(canvas, self.store.load(index), place)
        size, pad = np.array([width, height]) * place.ratio, np.array(place.pad)
        labels, ignored = (
            _placed(rows[index], size, pad, canvas.shape[:2]) for rows in (self.scan.labels, self.scan.ignored)
        )
        original = tuple(self.store.shapes[index].tolist())
        ratio = (size[0] / original[1], size[1] / original[0])
        return labels, ignored, (original, tuple(map(float, ratio)), place.pad)


def _placed(labels: np.ndarray, size: np.ndarray, pad: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return labels (n, 5) of an image that has ``size`` (w, h) and lies at ``pad`` (x, y) of a canvas (h, w)."""
    centre, half = labels[:, 1:3] * size + pad, labels[:, 3:5] * size / 2
    boxes = normalize_boxes(np.concatenate([centre - half, centre + half], 1), shape)
    return np.concatenate([labels[:, :1], boxes], 1)
