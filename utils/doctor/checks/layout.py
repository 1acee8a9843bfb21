"""Do the boxes fit the pictures better when their four numbers are read in another way?

An object differs from what is around it. So the mean colour in a box differs from that of a frame around the box, and
differs less where the box lies at the wrong place. This contrast is measured for a few hundred pictures, with the boxes
as they are written and as they would lie if x and y were swapped, the first corner were given in place of the centre,
the picture had been mirrored … A reading is reported where its contrast is higher by far more than chance allows: by
the mean of the differences, picture by picture, over its standard error.
"""

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from utils.data.image.read import ImageError
from utils.doctor.facts import WARNING, Facts, Finding
from utils.doctor.pixels import read_pixels
from utils.pixels import PixelFormat

PICTURES = 200  # looked at, of each group
MIN_PICTURES = 8
SIDE = 256  # pixels of the longer side
FRAME = 0.35  # of the box: width of the frame around it, on each side
MAX_IMPOSSIBLE = 0.05  # share of the boxes that a reading may make impossible
MIN_ERRORS = 4.0  # standard errors
MIN_GAIN = 0.1  # of the contrast

Reading = Callable[[np.ndarray], np.ndarray]


def _columns(*functions: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> Reading:
    return lambda boxes: np.stack([function(*boxes.T) for function in functions], axis=1)


def _mapped(x: Callable, y: Callable, turns: bool = False) -> Reading:
    """Return the reading that moves centres; one that ``turns`` the picture swaps width and height."""
    sizes = (lambda x, y, w, h: h, lambda x, y, w, h: w) if turns else (lambda x, y, w, h: w, lambda x, y, w, h: h)
    return _columns(lambda a, b, w, h: x(a, b), lambda a, b, w, h: y(a, b), *sizes)


READINGS: dict[str, Reading] = {
    "x and y swapped": _mapped(lambda x, y: y, lambda x, y: x, turns=True),
    "width and height swapped": _mapped(lambda x, y: x, lambda x, y: y, turns=True),
    "x y w h with x y the upper left corner": _columns(
        lambda x, y, w, h: x + w / 2, lambda x, y, w, h: y + h / 2, lambda x, y, w, h: w, lambda x, y, w, h: h
    ),
    "x1 y1 x2 y2, two corners": _columns(
        lambda x, y, w, h: (x + w) / 2,
        lambda x, y, w, h: (y + h) / 2,
        lambda x, y, w, h: w - x,
        lambda x, y, w, h: h - y,
    ),
    "the picture mirrored left to right": _mapped(lambda x, y: 1 - x, lambda x, y: y),
    "the picture mirrored top to bottom": _mapped(lambda x, y: x, lambda x, y: 1 - y),
    "the picture turned by 180°": _mapped(lambda x, y: 1 - x, lambda x, y: 1 - y),
}
UPRIGHT: dict[int, Reading] = {  # EXIF orientation → where a box of the stored picture lies in the upright one
    2: _mapped(lambda x, y: 1 - x, lambda x, y: y),
    3: _mapped(lambda x, y: 1 - x, lambda x, y: 1 - y),
    4: _mapped(lambda x, y: x, lambda x, y: 1 - y),
    5: _mapped(lambda x, y: y, lambda x, y: x, turns=True),
    6: _mapped(lambda x, y: 1 - y, lambda x, y: x, turns=True),
    7: _mapped(lambda x, y: 1 - y, lambda x, y: 1 - x, turns=True),
    8: _mapped(lambda x, y: y, lambda x, y: 1 - x, turns=True),
}


def other_reading(facts: Facts) -> Iterator[Finding]:
    turned = [i for i in facts.usable if facts.pictures[i].pixels.orientation != 1 and len(facts.rows_of(i))]
    stored = _tested(facts, turned, lambda i: {"stored": UPRIGHT[facts.pictures[i].pixels.orientation]})
    if stored:
        yield from Finding.of(
            WARNING,
            "pictures with an EXIF orientation whose labels fit them as stored, not upright",
            "store these pictures upright without EXIF data after turning their labels, or remove the EXIF orientation",
            [facts.at_labels(i, f"EXIF orientation {facts.pictures[i].pixels.orientation}") for i in turned],
        )
    for split in facts.splits:
        own = [
            i
            for i in facts.usable
            if facts.pictures[i].split == split and facts.pictures[i].pixels.orientation == 1 and len(facts.rows_of(i))
        ]
        better = _tested(facts, own, lambda i: READINGS)
        if better:
            yield from Finding.of(
                WARNING,
                f"pictures of {split} whose boxes fit better when they are read as: {better}",
                "write each row as class cx cy w h, centre and size, for the picture as it is stored",
                [facts.at_labels(i, better) for i in own],
            )


def _tested(facts: Facts, pictures: Sequence[int], readings: Callable[[int], dict[str, Reading]]) -> str:
    """Return the reading that is better than the written one beyond chance, the best of several; empty for none."""
    chosen = [pictures[k] for k in np.linspace(0, len(pictures) - 1, PICTURES).astype(int)] if pictures else []
    chosen = list(dict.fromkeys(chosen))
    if len(chosen) < MIN_PICTURES:
        return ""
    scores: dict[str, list[tuple[float, float]]] = {}
    impossible: dict[str, list[float]] = {}
    for index in chosen:
        rows = facts.rows_of(index)
        boxes = facts.boxes[rows.start : rows.stop]
        means = _summed(facts.pictures[index].path, facts.spec.pixels)
        if means is None:
            continue
        written = _contrast(means, boxes)
        for name, reading in readings(index).items():
            read = reading(boxes)
            scores.setdefault(name, []).append((_contrast(means, read), written))
            impossible.setdefault(name, []).append(_impossible(read))
    better = {
        name: errors
        for name, pairs in scores.items()
        if np.mean(impossible[name]) <= MAX_IMPOSSIBLE and (errors := _errors(np.array(pairs))) >= MIN_ERRORS
    }
    return max(better, key=better.get, default="")


def _errors(pairs: np.ndarray) -> float:
    """Return by how many standard errors the first column (n, 2) is larger than the second; 0 for too small a gain."""
    difference = pairs[:, 0] - pairs[:, 1]
    gain, spread = difference.mean(), difference.std(ddof=1) if len(pairs) > 1 else 0.0
    if spread == 0 or gain < MIN_GAIN * pairs[:, 1].mean():
        return 0.0
    return float(gain / spread * np.sqrt(len(pairs)))


def _impossible(boxes: np.ndarray) -> float:
    """Return the share of boxes without area, or half outside."""
    inside = ((boxes[:, :2] > 0) & (boxes[:, :2] < 1) & (boxes[:, 2:] > 0)).all(axis=1)
    return 1 - float(inside.mean())


def _summed(path: str, format_: PixelFormat) -> np.ndarray | None:
    """Return the integral image (h + 1, w + 1, 3) of the picture; None where it has become unreadable."""
    try:
        _, image = read_pixels(path, format_)
    except (ImageError, OSError):
        return None
    scale = SIDE / max(image.shape[:2])
    size = [max(round(side * scale), 1) for side in image.shape[1::-1]]
    return cv2.integral(cv2.resize(image, size, interpolation=cv2.INTER_AREA), sdepth=cv2.CV_64F)


def _contrast(sums: np.ndarray, boxes: np.ndarray) -> float:
    """Return the mean distance between the mean colour in a box and in the frame around it."""
    half = boxes[:, 2:].clip(min=0) / 2
    inner, inner_area = _sums(sums, boxes[:, :2], half)
    outer, outer_area = _sums(sums, boxes[:, :2], half * (1 + 2 * FRAME))
    frame, area = outer - inner, outer_area - inner_area
    distance = np.linalg.norm(inner / np.maximum(inner_area, 1) - frame / np.maximum(area, 1), axis=1)
    return float(np.where((inner_area[:, 0] > 0) & (area[:, 0] > 0), distance, 0).mean())


def _sums(sums: np.ndarray, centre: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return colours (n, 3) summed up in boxes, and their areas (n, 1), in pixels."""
    size = np.array(sums.shape[1::-1]) - 1
    x1, y1 = ((centre - half) * size).round().clip(0, size).astype(int).T
    x2, y2 = ((centre + half) * size).round().clip(0, size).astype(int).T
    return sums[y2, x2] - sums[y1, x2] - sums[y2, x1] + sums[y1, x1], ((x2 - x1) * (y2 - y1))[:, None]
