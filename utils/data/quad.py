"""Training batches of a quarter as many pictures, twice as high and wide: four samples become one."""

import cv2
import numpy as np

from utils.data.batch import Batch, as_images, as_targets, new_pixels
from utils.data.rng import Stream, generator
from utils.data.train_batches import TrainBatches
from utils.pixels import PixelFormat, resize

JOINED = 4
ENLARGED = 0.5  # share of the pictures that are the first of the four, enlarged
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # (column, row) of each of the four


class QuadBatches:
    """The batches of ``batches``, their samples joined in fours: a function of the seed, epoch and number as they are.

    Where the last batch is no multiple of four, its last picture takes its first samples again.
    """

    def __init__(self, batches: TrainBatches, seed: int) -> None:
        self.batches, self.seed = batches, seed

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        batch, (epoch, number) = self.batches[key], key
        pictures = -(-len(batch.images) // JOINED)
        is_enlarged = generator(self.seed, epoch, number, Stream.QUAD).random(pictures) < ENLARGED
        return join_fours(batch, is_enlarged)


def join_fours(batch: Batch, is_enlarged: np.ndarray) -> Batch:
    """Return (P, C, 2H, 2W) from a batch of 4P samples, or as few as 4P - 3.

    Where ``is_enlarged`` (P,), a picture is the first of its four samples; elsewhere all four: 0 above 1, on their
    right 2 above 3.
    """
    samples = batch.images.permute(0, 2, 3, 1).numpy()  # (B, H, W, C)
    count, height, width, channels = samples.shape
    targets = batch.targets.numpy()
    labels = [targets[targets[:, 0] == index, 1:] for index in range(count)]
    members = (np.arange(JOINED * len(is_enlarged)) % count).reshape(-1, JOINED).tolist()
    pixel_format = PixelFormat(channels, 8 * samples.dtype.itemsize)
    images = new_pixels(len(members), (2 * height, 2 * width), pixel_format)
    joined = []
    for picture, four, enlarged in zip(images.numpy(), members, is_enlarged.tolist(), strict=True):
        if enlarged:
            resize(samples[four[0]], (2 * width, 2 * height), cv2.INTER_LINEAR, dst=picture)
            joined.append(labels[four[0]])
            continue
        for sample, (column, row) in zip(four, CORNERS, strict=True):
            left, top = column * width, row * height
            picture[top : top + height, left : left + width] = samples[sample]
        joined.append(np.concatenate([_in_corner(labels[i], corner) for i, corner in zip(four, CORNERS, strict=True)]))
    return Batch(as_images(images), as_targets(joined), [batch.paths[four[0]] for four in members], shapes=None)


def _in_corner(labels: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    """Return labels (n, 5) [class, cx, cy, w, h] of a sample as labels of the picture whose quarter it is."""
    boxes = labels[:, 1:] / 2
    boxes[:, :2] += np.array(corner, np.float32) / 2
    return np.concatenate([labels[:, :1], boxes], 1)
