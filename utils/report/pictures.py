"""Pictures of a run inside the page, small enough for it to stay under 5 MB."""

import logging
from pathlib import Path

import numpy as np
from PIL import Image

from utils.html import escape, picture

log = logging.getLogger(__name__)

WIDTH, MOST = 1280, 330_000  # pixels; characters of markup, of which a page has a dozen
SMALLER, QUALITY = 0.8, 75


def figure(path: Path, caption: str) -> str:
    """Return a picture with its caption, or where it cannot be read that it cannot."""
    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (WIDTH, WIDTH))  # of a JPEG: decode no more than is shown
            image = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        log.warning("%s: left out of the report, it cannot be read (%s)", path, error)
        return f'<figure><p class="warning">{escape(path.name)} cannot be read</p></figure>'
    return f"<figure>{_markup(image, caption)}<figcaption>{escape(caption)}</figcaption></figure>"


def _markup(image: Image.Image, caption: str) -> str:
    width = min(WIDTH, image.width)
    while True:
        height = max(1, round(image.height * width / image.width))
        found = picture(np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)), caption, QUALITY)
        if len(found) <= MOST or width < 64:
            return found
        width = int(width * SMALLER)
