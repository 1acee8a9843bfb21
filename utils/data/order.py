"""Which images a batch has, and how large its pictures are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from utils.data.image_store import ImageStore
from utils.data.image_weights import ImageWeights
from utils.data.mosaic.tiles import Draw
from utils.data.rng import Stream, generator


class Members(NamedTuple):
    """The images (B,) of a batch, their positions among all, by which random numbers are drawn, and its (h, w)."""

    images: np.ndarray
    positions: range
    shape: tuple[int, int]


@dataclass(frozen=True)
class Sampling:
    """How the images of an epoch are chosen and put together; by default each is shown once, in a square."""

    weights: ImageWeights | None = None  # drawn by these
    rect_stride: int | None = None  # those of similar proportions together; sides are multiples of it
    part: tuple[int, int] = (0, 1)  # which of how many parts of each batch is made, one for each process


EACH_ONCE = Sampling()


def own_part(count: int, number: int, parts: int) -> range:
    """Return which of ``count`` samples belong to a part; where there are fewer than parts, some have the same one."""
    if count < parts:
        return range(number % count, number % count + 1)
    return range(count * number // parts, count * (number + 1) // parts)


class Order(Protocol):
    """How the images of a data set are made into the batches of an epoch."""

    draw: Draw | None  # of partners in mosaics; None: all images have the same chance

    def __len__(self) -> int: ...

    def members(self, epoch: int, number: int) -> Members: ...


class ShuffledOrder:
    """Pictures of one shape, in an order that a new permutation gives every epoch; the last batch may be smaller.

    With ``weights`` an epoch shows as many, but each is drawn by those of that epoch.
    """

    def __init__(
        self, images: int, batch_size: int, shape: tuple[int, int], seed: int, weights: ImageWeights | None = None
    ) -> None:
        self.images, self.batch_size, self.shape, self.seed = images, batch_size, shape, seed
        self.draw = weights.draw if weights is not None else None
        self._order = (-1, np.zeros(0))  # epoch, the images in its order or the numbers that they are drawn by

    def __len__(self) -> int:
        return -(-self.images // self.batch_size)

    def members(self, epoch: int, number: int) -> Members:
        positions = range(self.images)[number * self.batch_size : (number + 1) * self.batch_size]
        if self._order[0] != epoch:
            rng = generator(self.seed, epoch, 0, Stream.ORDER)
            self._order = (epoch, rng.random(self.images) if self.draw else rng.permutation(self.images))
        own = self._order[1][positions.start : positions.stop]
        return Members(self.draw(own) if self.draw else own, positions, self.shape)


class RectOrder:
    """Batches of similar proportions, always of the same images, that every epoch visits in a new order.

    ``shapes`` (N, 2) [h, w] of the images; ``shape`` (h, w) is the largest that a batch gets.
    """

    draw = None

    def __init__(self, shapes: np.ndarray, batch_size: int, shape: tuple[int, int], stride: int, seed: int) -> None:
        self.batch_size, self.seed = batch_size, seed
        self.images, self.shapes = rect_batches(shapes, batch_size, shape, stride, pad=0)

    def __len__(self) -> int:
        return len(self.shapes)

    def members(self, epoch: int, number: int) -> Members:
        batch = int(generator(self.seed, epoch, 0, Stream.ORDER).permutation(len(self))[number])
        positions = range(len(self.images))[batch * self.batch_size : (batch + 1) * self.batch_size]
        height, width = self.shapes[batch].tolist()
        return Members(self.images[positions.start : positions.stop], positions, (height, width))


def rect_batches(
    shapes: np.ndarray, batch_size: int, shape: tuple[int, int], stride: int, pad: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (N,) sorted by their proportions, and (batches, 2) [h, w] that suits each ``batch_size``.

    ``shapes`` (N, 2) [h, w] of the images; images of the same proportions keep their order.
    """
    aspect = shapes[:, 0] / shapes[:, 1]
    order = np.argsort(aspect, kind="stable")
    return order, rect_shapes(aspect[order], batch_size, shape, stride, pad)


def rect_shapes(
    aspect: Sequence[float], batch_size: int, shape: tuple[int, int], stride: int, pad: float
) -> np.ndarray:
    """Return [h, w] of each batch, multiples of ``stride``, for sorted ``aspect`` ratios (h / w).

    Without ``pad``, in strides, they are at most ``shape`` (h, w), whose sides are such multiples.
    """
    relative = np.asarray(aspect) / (shape[0] / shape[1])  # above 1: higher than ``shape``
    shapes = []
    for start in range(0, len(relative), batch_size):
        low, high = relative[start], relative[min(start + batch_size, len(relative)) - 1]
        factor = (high, 1) if high < 1 else (1, 1 / low) if low > 1 else (1, 1)
        shapes.append(np.ceil(np.array(factor) * shape / stride + pad) * stride)
    return np.array(shapes).astype(int)


def build_order(sampling: Sampling, store: ImageStore, batch_size: int, seed: int) -> Order:
    """Return the batches that ``sampling`` wants of the images of a store."""
    if sampling.rect_stride is not None:
        return RectOrder(store.shapes, batch_size, store.shape, sampling.rect_stride, seed)
    return ShuffledOrder(len(store), batch_size, store.shape, seed, sampling.weights)
