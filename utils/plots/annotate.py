"""Draw boxes and their labels on images."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from utils.plots.fonts import find_font
from utils.text import safe_text

Color = tuple[int, int, int]  # RGB

_CODES = bytes.fromhex(
    "042AFF 0BDBEB F3F3F3 00DFB7 111F68 FF6FDD FF444F CCED00 00F344 BD00FF "
    "00B4FF DD00BA 00FFFF 26C000 01FFB3 7D24FF 7B0068 FF1B6C FC6D2F A2FF0B"
)
PALETTE: tuple[Color, ...] = tuple(zip(_CODES[::3], _CODES[1::3], _CODES[2::3], strict=True))
WHITE: Color = (255, 255, 255)
DARK: Color = (17, 31, 104)
MAX_LETTERS = 1000  # of a label, which no picture is wide enough for
LIGHT_FROM = 147  # luminance from which white text is hard to read


def color_of(class_id: int) -> Color:
    """Return the colour in which a class is drawn everywhere."""
    return PALETTE[int(class_id) % len(PALETTE)]


def text_color_on(color: Color) -> Color:
    """Return white, or dark blue on a light colour."""
    red, green, blue = color
    return DARK if 0.299 * red + 0.587 * green + 0.114 * blue >= LIGHT_FROM else WHITE


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

    A box whose text is empty gets no label.
    """
    canvas = np.ascontiguousarray(image).copy()
    line_width = line_width or line_width_for(canvas)
    for box, text, color in zip(np.rint(boxes).astype(int).tolist(), texts, colors, strict=True):
        x1, y1, x2, y2 = box
        cv2.rectangle(canvas, (x1, y1), (x2, y2), color, thickness=line_width, lineType=cv2.LINE_AA)
        if text:
            draw_label_(canvas, x1, y1, text, color, line_width)
    return canvas


def draw_label_(canvas: np.ndarray, x: int, y: int, text: str, color: Color, line_width: int) -> None:
    """Draw a text into the canvas: above the corner (x, y), below it where there is no room, inside the right edge."""
    height, width = canvas.shape[:2]
    label = _label(text, color, line_width)[:height, :width]
    label_height, label_width = label.shape[:2]
    top = y - label_height if y >= label_height else y
    top = min(max(top, 0), height - label_height)
    left = min(max(x, 0), width - label_width)
    canvas[top : top + label_height, left : left + label_width] = label


def _label(text: str, color: Color, line_width: int) -> np.ndarray:
    """Return a small RGB image of the text on its colour."""
    text = safe_text(text[:MAX_LETTERS])
    if not text.isascii():  # OpenCV 4 draws question marks
        return _pil_label(text, color, size=8 + 4 * line_width)
    scale, thickness = line_width / 3, max(line_width - 1, 1)
    (width, height), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    label = np.full((height + baseline + 3, width + 2, 3), color, dtype=np.uint8)
    origin = (1, height + 2)
    cv2.putText(
        label, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, text_color_on(color), thickness, lineType=cv2.LINE_AA
    )
    return label


def _pil_label(text: str, color: Color, size: int) -> np.ndarray:
    font = find_font(text, size)
    left, top, right, bottom = font.getbbox(text)
    label = Image.new("RGB", (round(right - left) + 4, round(bottom - top) + 6), color)
    ImageDraw.Draw(label).text((2 - left, 3 - top), text, fill=text_color_on(color), font=font)
    return np.asarray(label)
