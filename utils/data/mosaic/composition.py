"""Decide from random numbers what the pictures of a training batch show: which images, where, and how warped."""

from dataclasses import dataclass

import numpy as np

from utils.data.mosaic.augment import AugmentConfig
from utils.data.mosaic.perspective import DRAWS, SCALE, warp_matrices, warp_ranges
from utils.data.mosaic.tiles import NINE, TILES, Layout, letterbox_layout, merge, mosaic_layout, nine_layout

# uniform numbers of a sample: four decisions, then two pictures (the second for mixup) with these columns
DECISIONS = MOSAIC, MIXUP, FLIP_UD, FLIP_LR = range(4)
CENTRE, ORDER, PICK = slice(0, 2), slice(2, 2 + TILES), slice(2 + TILES, 2 + 2 * TILES)
WARP = slice(PICK.stop, PICK.stop + DRAWS)
NUMBERS = len(DECISIONS) + 2 * WARP.stop
# and where mosaics of nine are wanted, further columns of both pictures, which stand behind all others
IS_NINE, PICK_NINE = WARP.stop, slice(WARP.stop + 1, WARP.stop + NINE)


def number_count(augment: AugmentConfig) -> int:
    """Return how many numbers decide about a sample; with and without mosaics of nine the first ones mean the same."""
    return NUMBERS + (2 * NINE if augment.mosaic9 else 0)


@dataclass(frozen=True)
class Composition:
    """P pictures for B samples: picture i < B is that of sample i, the rest are mixed into some of them."""

    layout: Layout
    sample: np.ndarray  # (P,)
    matrix: np.ndarray  # (P, 3, 3) from canvas to picture, before flipping
    scale: np.ndarray  # (P,) that was drawn
    flip: np.ndarray  # (B, 2) bool: left to right, upside down
    shape: tuple[int, int]  # (h, w) of a picture

    def pixel_matrix(self) -> np.ndarray:
        """Return (P, 3, 3) from canvas to flipped picture."""
        mirror = np.tile(np.eye(3), (len(self.sample), 1, 1))
        flip = self.flip[self.sample]
        mirror[:, [0, 1], [0, 1]] = np.where(flip, -1, 1)
        mirror[:, :2, 2] = np.where(flip, self.shape[::-1], 0)
        return mirror @ self.matrix


def compose(
    own: np.ndarray,
    mosaics: np.ndarray,
    pool: np.ndarray,
    sizes: np.ndarray,
    augment: AugmentConfig,
    shape: tuple[int, int],
    numbers: np.ndarray,
) -> Composition:
    """Compose B samples from uniform ``numbers`` (B, number_count).

    ``own`` (B,) are their images and ``mosaics`` (B, 4) the images of their mosaics, if they become one; others come
    from ``pool``. ``sizes`` (N, 2) [w, h] of all images on a canvas; ``shape`` (h, w) of a picture.
    """
    # which samples are mosaics, and which get a second one mixed in
    decisions, *tables = np.split(numbers, [len(DECISIONS), NUMBERS], 1)
    tables = np.concatenate([columns.reshape(len(own), 2, -1) for columns in tables], 2)
    is_mosaic = decisions[:, MOSAIC] < augment.mosaic
    mixed = np.flatnonzero(is_mosaic & (decisions[:, MIXUP] < augment.mixup))
    single, first = np.flatnonzero(~is_mosaic), np.flatnonzero(is_mosaic)
    sample = np.concatenate([np.arange(len(own)), mixed])
    table = np.concatenate([tables[:, 0], tables[mixed, 1]])  # (P, …)

    # the four images of every mosaic: own and partners in random order, or four of the pool for a second one
    order = np.argsort(table[first, ORDER], 1)
    picked = pool[(table[len(own) :, PICK] * len(pool)).astype(int)]
    images = np.concatenate([np.take_along_axis(mosaics[first], order, 1), picked])

    # where they lie
    pictures = np.concatenate([first, np.arange(len(own), len(sample))])
    parts = [(letterbox_layout(own[single], sizes[own[single]], shape), single)]
    if augment.mosaic9:
        is_nine = table[pictures, IS_NINE] < augment.mosaic9
        middle = np.concatenate([own[first], picked[:, 0]])[is_nine]
        parts.append((_nine(middle, pool, sizes, table[pictures[is_nine]], shape), pictures[is_nine]))
        images, pictures = images[~is_nine], pictures[~is_nine]
    centres = np.floor((0.5 + table[pictures, CENTRE]) * shape[::-1])
    layout = merge(*parts, (mosaic_layout(images, sizes[images], centres, shape), pictures))

    # how each canvas is warped into its picture
    low, high = warp_ranges(augment.degrees, augment.translate, augment.scale, augment.shear, augment.perspective)
    draws = low + (high - low) * table[:, WARP]
    return Composition(
        layout,
        sample,
        warp_matrices(draws, layout.canvas, shape[::-1]),
        draws[:, SCALE],
        decisions[:, [FLIP_LR, FLIP_UD]] < (augment.fliplr, augment.flipud),
        shape,
    )


def _nine(middle: np.ndarray, pool: np.ndarray, sizes: np.ndarray, table: np.ndarray, shape: tuple[int, int]) -> Layout:
    """Return mosaics of nine around the images ``middle`` (M,), from the numbers ``table`` (M, …) of their pictures."""
    around = pool[(table[:, PICK_NINE] * len(pool)).astype(int)]
    images = np.concatenate([middle[:, None], around], 1)
    return nine_layout(images, sizes[images], np.floor(table[:, CENTRE] * shape[::-1]), shape)
