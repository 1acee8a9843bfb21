"""Where the images of a batch lie before the random warp: several on the canvas of a mosaic, or one in a letterbox.

A mosaic's canvas has twice the width and height of a picture; its tiles meet at a random point of the inner half:

    +---------+------------+
    |       0 | 1          |
    |    own  |            |   0  touches the centre with its bottom right corner
    +---------c------------+   1  with its bottom left one
    |       2 | 3          |   2  with its top right one
    |         |            |   3  with its top left one
    +---------+------------+

A mosaic of nine has one image in the middle and the others around it, clockwise from the top, each touching the one
before. What its canvas shows is a window of that, whose position is random:

    +---+-----+-------+
    | 8 |  1  |   2   |    1  stands on the left end of 0's upper edge, 2 on the right of 1
    +-+-+-----+--+----+    3  touches the upper end of 0's right edge, 4 lies below 3
    |7| 0        | 3  |    5  hangs from the right end of 0's lower edge, 6 on the left of 5
    +-+--+-------+----+    7  touches the lower end of 0's left edge, 8 lies above 7
    | 6  |   5   | 4  |
    +----+-------+----+
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from utils.data.letterbox import fit
from utils.data.mosaic.ragged import Ragged

Draw = Callable[[np.ndarray], np.ndarray]  # uniform numbers in [0, 1) → images, of the same shape
TILES = 4  # top left, top right, bottom left, bottom right of the mosaic's centre
NINE = 9


@dataclass(frozen=True)
class Layout:
    """T tiles on the canvases of P pictures, in canvas pixels, ordered by picture.

    A tile is data-set image ``image`` (T,) on the canvas of ``picture`` (T,), ``size`` (T, 2) [w, h] large, with its
    top left corner at ``origin`` (T, 2); ``canvas`` (P, 2) [w, h] is the size of each picture's canvas, ``is_mosaic``
    (P,) says which pictures are mosaics.
    """

    picture: np.ndarray
    image: np.ndarray
    size: np.ndarray
    origin: np.ndarray
    canvas: np.ndarray
    is_mosaic: np.ndarray


@dataclass(frozen=True)
class Objects:
    """N labelled objects on canvases: class, xyxy ``boxes`` (N, 4) in canvas pixels, and where they come from."""

    classes: np.ndarray  # (N,)
    boxes: np.ndarray  # (N, 4)
    polygons: Ragged | None  # N outlines in canvas pixels, empty for an object that has none
    tile: np.ndarray  # (N,)

    def select(self, rows: np.ndarray) -> "Objects":
        polygons = None if self.polygons is None else self.polygons.take(rows)
        return Objects(self.classes[rows], self.boxes[rows], polygons, self.tile[rows])


def partners(
    own: np.ndarray, images: int, pool: int, rng: np.random.Generator, draw: Draw | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the images (B, 4) of the mosaics around ``own`` (B,), and return them with the whole pool.

    The pool is ``own`` and pool - 1 times as many images drawn from all; every one of its pool · B images comes into
    4 / pool mosaics, never twice into the same. With pool 4 the partners are independent draws. A batch of fewer than
    four images uses pool 4.

    Pool 2, own = a b c d, drawn = p q r s: tiles 0 and 2 take the ring of own, 1 and 3 that of drawn; 0 and 1 as they
    are, 2 and 3 turned, by 3 and 1 places say: the mosaics are (a p b s), (b q c p), (c r d q), (d s a r).

    ``draw`` chooses images by uniform numbers where not all have the same chance.
    """
    count = len(own)
    pool = pool if count >= TILES else TILES
    # rings of B images, and by how many places each of the four tiles turns the one that it takes from
    shape = pool - 1, count
    drawn = rng.integers(0, images, shape) if draw is None else draw(rng.random(shape))
    rings = np.concatenate([own[None], drawn])  # (pool, B)
    turns = np.concatenate([np.zeros(pool, int), rng.permutation(np.arange(1, max(count, TILES)))[: TILES - 1]])
    chosen = [np.roll(rings[tile % pool], turns[tile]) for tile in range(TILES)]
    return np.stack(chosen, 1), rings.ravel()


def mosaic_layout(images: np.ndarray, sizes: np.ndarray, centres: np.ndarray, shape: tuple[int, int]) -> Layout:
    """Return M mosaics of ``images`` (M, 4), each ``sizes`` (M, 4, 2) [w, h] large, that meet at ``centres`` (M, 2).

    ``shape`` (h, w) is that of a picture.
    """
    # the corner of each tile that touches the centre decides where its top left corner is
    origin = np.repeat(centres[:, None].astype(float), TILES, 1)
    origin[:, [0, 2], 0] -= sizes[:, [0, 2], 0]
    origin[:, [0, 1], 1] -= sizes[:, [0, 1], 1]
    return _mosaics(images, sizes, origin, shape)


def nine_layout(images: np.ndarray, sizes: np.ndarray, windows: np.ndarray, shape: tuple[int, int]) -> Layout:
    """Return M mosaics of ``images`` (M, 9), each ``sizes`` (M, 9, 2) [w, h] large.

    ``windows`` (M, 2) [x, y] is where the canvas begins, 0 to ``shape``: one picture left of and above image 0, or at
    its corner.
    """
    zero = np.zeros(len(images))
    w, h = sizes[..., 0].T, sizes[..., 1].T  # (9, M)
    left = [zero, zero, w[1], w[0], w[0], w[0] - w[5], w[0] - w[5] - w[6], -w[7], -w[8]]
    top = [zero, -h[1], -h[2], zero, h[3], h[0], h[0], h[0] - h[7], h[0] - h[7] - h[8]]
    corner = np.array(shape[::-1]) - windows  # of image 0, on the canvas
    origin = np.stack([left, top], 2).transpose(1, 0, 2) + corner[:, None]
    return _mosaics(images, sizes, origin, shape)


def _mosaics(images: np.ndarray, sizes: np.ndarray, origin: np.ndarray, shape: tuple[int, int]) -> Layout:
    """Return M mosaics of ``images`` (M, T) whose top left corners lie at ``origin`` (M, T, 2)."""
    count, tiles = images.shape
    return Layout(
        picture=np.repeat(np.arange(count), tiles),
        image=images.ravel(),
        size=sizes.reshape(-1, 2).astype(float),
        origin=origin.reshape(-1, 2),
        canvas=np.tile([2 * shape[1], 2 * shape[0]], (count, 1)),
        is_mosaic=np.ones(count, bool),
    )


def letterbox_layout(images: np.ndarray, sizes: np.ndarray, shape: tuple[int, int]) -> Layout:
    """Return one letterboxed image per picture of ``shape`` (h, w): ``images`` (M,) of ``sizes`` (M, 2) [w, h]."""
    count = len(images)
    places = [fit((height, width), shape) for width, height in sizes.tolist()]
    ratio = np.array([place.ratio for place in places])
    return Layout(
        picture=np.arange(count),
        image=images,
        size=sizes * ratio.reshape(count, 1),
        origin=np.array([place.pad for place in places]).reshape(count, 2),
        canvas=np.tile([shape[1], shape[0]], (count, 1)),
        is_mosaic=np.zeros(count, bool),
    )


def merge(*parts: tuple[Layout, np.ndarray]) -> Layout:
    """Return several layouts as one; the numbers that their pictures get must be 0…P-1 together."""
    layouts, pictures = zip(*parts, strict=True)

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(layout, name) for layout in layouts])

    picture = np.concatenate([numbers[layout.picture] for layout, numbers in parts])
    tiles, places = np.argsort(picture, kind="stable"), np.argsort(np.concatenate(pictures))
    by_tile = [joined(name)[tiles] for name in ("image", "size", "origin")]
    return Layout(picture[tiles], *by_tile, *(joined(name)[places] for name in ("canvas", "is_mosaic")))


def place_objects(layout: Layout, labels: Ragged, polygons: Ragged | None) -> Objects:
    """Return the objects of every tile on the canvases, cut at their edges.

    ``labels``: rows [class, cx, cy, w, h] 0–1 of each data-set image; ``polygons``: points 0–1 of each label row.
    """
    # the label rows of every tile, and what moves them onto its canvas
    rows = labels.rows(layout.image)
    tile = np.repeat(np.arange(len(layout.image)), labels.lengths[layout.image])
    size, origin, limit = layout.size[tile], layout.origin[tile], layout.canvas[layout.picture[tile]]
    # boxes as corners in canvas pixels
    label = labels.values[rows].astype(np.float64)
    centre, half = label[:, 1:3], label[:, 3:5] / 2
    corners = np.concatenate([size * (centre - half) + origin, size * (centre + half) + origin], 1)
    boxes = np.clip(corners, 0, np.tile(limit, 2))
    if polygons is None:
        return Objects(label[:, 0], boxes, None, tile)

    # outlines likewise, point by point
    outlines = polygons.take(rows)
    points = np.repeat(np.arange(len(rows)), outlines.lengths)
    placed = np.clip(outlines.values * size[points] + origin[points], 0, limit[points])
    return Objects(label[:, 0], boxes, Ragged(placed, outlines.starts), tile)
