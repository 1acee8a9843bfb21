"""The pixels of composed pictures."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from utils.data.letterbox import border
from utils.data.mosaic.composition import Composition
from utils.data.mosaic.copy_paste import Copies, outline_mask
from utils.data.mosaic.ragged import Ragged
from utils.data.mosaic.warp_paint import Strokes, canvas_channels, paint, plan_strokes
from utils.pixels import RGB, PixelFormat

CUT = -0.4999  # what rounding needs to become cutting; -0.5 would be a tie for whole numbers


@dataclass(frozen=True)
class Drawing:
    """The strokes that paint P pictures: first all T tiles, then K mirrored copies of objects on them.

    ``order`` leaves out what the warp has moved out of sight.
    """

    strokes: Strokes
    image: np.ndarray  # (T + K,) data-set image of each stroke
    order: list[np.ndarray]  # P lists of strokes, from back to front
    outlines: Ragged  # (K,) in pixels of the stored image
    shape: tuple[int, int]  # (h, w) of a picture

    def mask(self, stroke: int, shape: tuple[int, int]) -> np.ndarray | None:
        copy = stroke - (len(self.image) - len(self.outlines))
        if copy < 0:
            return None
        start, end = self.outlines.starts[copy : copy + 2]
        return outline_mask(self.outlines.values[start:end], shape)


def plan_drawing(composition: Composition, copies: Copies, stored_sizes: np.ndarray) -> Drawing:
    """Plan how images of ``stored_sizes`` (N, 2) [w, h] become pictures."""
    # tiles: from the stored image to the canvas, and from there to the picture; what of it the canvas shows
    layout = composition.layout
    stored = stored_sizes[layout.image]
    scale, origin = layout.size / stored, np.round(layout.origin - 0.1)  # whole pixels, as letterbox places an image
    place = np.tile(np.eye(3), (len(stored), 1, 1))
    place[:, [0, 1], [0, 1]], place[:, :2, 2] = scale, origin
    warp = composition.pixel_matrix()[layout.picture]
    canvas = layout.canvas[layout.picture]
    visible = np.concatenate([-origin / scale, (canvas - origin) / scale], 1)
    visible = visible.clip(0, np.tile(stored, 2))

    # copies: the same with a mirrored canvas between, and only the part around the object's outline
    tile = copies.tile
    mirror = np.tile(np.diag([-1.0, 1.0, 1.0]), (len(tile), 1, 1))
    mirror[:, 0, 2] = canvas[tile, 0]
    points = tile[copies.outlines.owner]
    outlines = Ragged((copies.outlines.values - origin[points]) / scale[points], copies.outlines.starts)
    extent = [ufunc.reduceat(outlines.values, outlines.starts[:-1]) for ufunc in (np.minimum, np.maximum)]

    strokes = plan_strokes(
        np.concatenate([warp @ place, warp[tile] @ mirror @ place[tile]]),
        np.concatenate([visible, np.concatenate(extent, 1)]),
        composition.shape,
    )

    # the strokes of each picture that are seen, tiles first
    picture = np.concatenate([layout.picture, layout.picture[tile]])
    by_picture = np.argsort(picture, kind="stable")
    by_picture = by_picture[strokes.seen[by_picture]]
    bounds = np.searchsorted(picture[by_picture], np.arange(1, len(layout.canvas)))
    image = np.concatenate([layout.image, layout.image[tile]])
    return Drawing(strokes, image, np.split(by_picture, bounds), outlines, composition.shape)


class Painter:
    """Paints pictures; it keeps the memory that it paints in, as long as their shape stays."""

    def __init__(self, pixels: PixelFormat = RGB) -> None:
        self.pixels = pixels
        self._provide((0, 0))

    def _provide(self, shape: tuple[int, int]) -> None:
        self._canvas = np.empty((*shape, canvas_channels(self.pixels.channels)), self.pixels.dtype)
        self._second = np.empty((*shape, self.pixels.channels), self.pixels.dtype)

    def paint(
        self,
        drawing: Drawing,
        sample: np.ndarray,
        first_share: np.ndarray,
        load: Callable[[int], np.ndarray],
        out: np.ndarray | None = None,
        part: range | None = None,
    ) -> np.ndarray:
        """Return ``out`` (N, h, w, C) with the samples ``part``, or all B; every image that is seen is loaded once.

        Picture i < B becomes sample i; a later one is mixed into its ``sample`` (P,), of which ``first_share`` (B,)
        remains.
        """
        if self._second.shape[:2] != drawing.shape:
            self._provide(drawing.shape)
        part = range(len(first_share)) if part is None else part
        pictures = [picture for picture, target in enumerate(sample.tolist()) if target in part]
        seen = np.unique(drawing.image[np.concatenate([drawing.order[picture] for picture in pictures])])
        images = {index: load(index) for index in seen.tolist()}
        pixels = np.empty((len(part), *self._second.shape), self.pixels.dtype) if out is None else out
        for picture in pictures:
            target, is_first = pixels[sample[picture] - part.start], picture < len(first_share)
            self._draw(drawing, picture, images, target if is_first else self._second)
            if not is_first:
                first, share = target, float(first_share[sample[picture]])
                cv2.addWeighted(first, share, self._second, 1 - share, CUT, dst=first)
        return pixels

    def _draw(self, drawing: Drawing, picture: int, images: dict[int, np.ndarray], target: np.ndarray) -> None:
        self._canvas.fill(border(self.pixels.dtype))
        for stroke in drawing.order[picture].tolist():
            image = images[int(drawing.image[stroke])]
            paint(self._canvas, image, drawing.strokes, stroke, drawing.mask(stroke, image.shape[:2]))
        if self._canvas.shape == target.shape:
            target[...] = self._canvas
        else:
            cv2.cvtColor(self._canvas, cv2.COLOR_RGBA2RGB, dst=target)
