"""Draw boxes and their labels on images.

The palette keeps a rule that its test measures. Each colour has a contrast (WCAG 2) of 2.25 or more to white and to
black; text on it, the better of black and white, one of 4.5 or more. By CIEDE2000 any two are 7.5 or more apart, the
first six 13 or more, and neighbours, the last and the first among them, 19 or more: seen normally, and without the
red, the green or the blue cones (Machado et al., A Physiologically-based Model for Simulation of Color Vision
Deficiency, 2009, https://doi.org/10.1109/TVCG.2009.113).
"""

import functools
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from utils.plots.fonts import font_runs
from utils.text import safe_text

Color = tuple[int, int, int]  # RGB

_CODES = bytes.fromhex(
    "3002EC CAA809 7D85FD B0064B FE5499 6C8804 9F31FA FB8993 8C0364 099272 "
    "6159B8 F5483E 632D95 9575C3 AE5447 1BB4E7 696100 6BA960 AB5692 145723"
)
PALETTE: tuple[Color, ...] = tuple(zip(_CODES[::3], _CODES[1::3], _CODES[2::3], strict=True))
WHITE: Color = (255, 255, 255)
BLACK: Color = (0, 0, 0)
MAX_LETTERS = 1000  # of a label, which no picture is wide enough for
MAX_SHARE = 0.25  # of a picture that labels may cover
MIN_SIZE = 9  # pixels of a text that can be read
MARGIN = 2  # pixels beside a text


def color_of(class_id: int) -> Color:
    """Return the colour in which a class is drawn everywhere."""
    return PALETTE[int(class_id) % len(PALETTE)]


def text_color_on(color: Color) -> Color:
    """Return white or black, whichever has the higher contrast."""
    return WHITE if 1.05 / (_luminance(color) + 0.05) > (_luminance(color) + 0.05) / 0.05 else BLACK


def _luminance(color: Color) -> float:
    """Return the relative luminance of WCAG 2, 0–1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def line_width_for(image: np.ndarray) -> int:
    """Return the width of box lines that suits the size of the image."""
    return max(round(sum(image.shape) / 2 * 0.003), 2)


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    texts: Sequence[str],
    colors: Sequence[Color],
    line_width: int | None = None,
) -> np.ndarray:
    """Return a copy of an RGB image with boxes ``(n, 4)`` xyxy in pixels, later ones on top.

    A box whose text is empty gets no label. Where labels would cover more than a quarter of the image, their text is
    smaller; where even the smallest would, the first boxes go without.
    """
    canvas = np.ascontiguousarray(image).copy()
    line_width = line_width or line_width_for(canvas)
    texts, size = fit_labels([safe_text(text[:MAX_LETTERS]) for text in texts], canvas.shape, 8 + 4 * line_width)
    for box, text, color in zip(np.rint(boxes).astype(int).tolist(), texts, colors, strict=True):
        x1, y1, x2, y2 = box
        cv2.rectangle(canvas, (x1, y1), (x2, y2), color, thickness=line_width, lineType=cv2.LINE_AA)
        if text:
            _draw_label_(canvas, x1, y1, text_image(text, size, color, text_color_on(color)))
    return canvas


def fit_labels(texts: Sequence[str], shape: Sequence[int], size: int) -> tuple[list[str], int]:
    """Return the texts, empty where there is no room for a label, and the pixels of their font, at most ``size``."""
    height, width = shape[:2]
    room = MAX_SHARE * height * width
    while size > MIN_SIZE and not _fits([_extent(text, size) for text in texts if text], room, width):
        size = max(MIN_SIZE, size - max(1, size // 8))
    kept = []
    for text in reversed(texts):  # the last ones are on top
        label_width, label_height = _extent(text, size) if text else (0, 0)
        room -= min(label_width, width) * label_height
        kept.append(text if room >= 0 else "")
    return kept[::-1], size


def _fits(extents: Sequence[tuple[int, int]], room: float, width: int) -> bool:
    return all(w <= width for w, _ in extents) and sum(w * h for w, h in extents) <= room


@functools.lru_cache(maxsize=4096)
def _extent(text: str, size: int) -> tuple[int, int]:
    """Return width and height of a label in pixels."""
    width = sum(font.getlength(part) for font, part in font_runs(text, size))
    return round(width) + 2 * MARGIN, round(1.25 * size)


def _draw_label_(canvas: np.ndarray, x: int, y: int, label: np.ndarray) -> None:
    """Put a label into the canvas: above the corner (x, y), below it where there is no room, inside the right edge."""
    height, width = canvas.shape[:2]
    label = label[:height, :width]
    label_height, label_width = label.shape[:2]
    top = y - label_height if y >= label_height else y
    top = min(max(top, 0), height - label_height)
    left = min(max(x, 0), width - label_width)
    canvas[top : top + label_height, left : left + label_width] = label


@functools.lru_cache(maxsize=512)  # of a large picture they have 60 kB each
def text_image(text: str, size: int, color: Color, ink: Color) -> np.ndarray:
    """Return a small RGB image of a text on its colour, to be read only."""
    width, height = _extent(text, size)
    label = Image.new("RGB", (width, height), color)
    draw, x = ImageDraw.Draw(label), float(MARGIN)
    for font, part in font_runs(text, size):
        draw.text((x, round(0.97 * size)), part, fill=ink, font=font, anchor="ls")  # on the baseline
        x += font.getlength(part)
    return np.asarray(label)
