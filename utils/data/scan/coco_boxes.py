"""Recognise boxes of a COCO file that are not [x, y, width, height] in pixels, and would be read as if they were."""

import numpy as np

SHARES = "its bbox is in shares of the image, as all of the file are; COCO has pixels"
CORNERS = "its bbox looks like [x1, y1, x2, y2], as all of the file do; COCO has [x, y, width, height]"
FEW = 2  # boxes that say nothing about a habit
FAR = 0.05  # of a side, by which slips of a mouse do not reach out of an image
OFTEN = 0.1  # of the boxes


def misreading(boxes: np.ndarray, shapes: np.ndarray) -> str:
    """Return what is wrong with the boxes (n, 4) of a file, empty if they can be [x, y, width, height] in pixels.

    Their images have ``shapes`` (n, 2) [height, width], 0 where the file does not say. Corners are believed only where
    every box could be two of them, and many reach far out of their images otherwise.
    """
    usable = np.isfinite(boxes).all(1) & (boxes[:, 2:] > 0).all(1)
    if np.count_nonzero(usable) > FEW and boxes[usable].max() <= 1:
        return SHARES
    usable &= shapes.all(1)
    first, second, sides = boxes[usable, :2], boxes[usable, 2:], shapes[usable, ::-1]
    outside = np.count_nonzero((first + second > (1 + FAR) * sides).any(1))
    if outside > max(FEW, OFTEN * len(first)) and ((first < second) & (second <= sides + 1)).all():
        return CORNERS
    return ""
