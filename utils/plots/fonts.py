"""Find a font that can show a text; nothing is downloaded."""

import functools
import logging
from pathlib import Path

import matplotlib
from PIL import ImageFont

log = logging.getLogger(__name__)

WIDE_FONTS = (  # files of common systems that hold Chinese, Japanese and Korean
    "NotoSansCJK-Regular.ttc",
    "NotoSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "msyh.ttc",
    "simhei.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "Arial Unicode.ttf",
)
NO_CHARACTER = "\uffff"  # every font shows it as its sign for a missing glyph


@functools.lru_cache(maxsize=512)
def find_font(text: str, size: int) -> ImageFont.FreeTypeFont:
    """Return the first font that has every character of the text, or DejaVu Sans with a warning."""
    fonts = [font for name in (_dejavu(), *WIDE_FONTS) if (font := _open(name, size))]
    for font in fonts:
        if not _missing(font, text):
            return font
    warn_once(_missing(fonts[0], text))
    return fonts[0]


def _dejavu() -> str:
    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))  # comes with matplotlib


@functools.lru_cache(maxsize=64)
def _open(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)  # a bare file name is looked for in the system's font folders
    except OSError:
        return None


def _missing(font: ImageFont.FreeTypeFont, text: str) -> str:
    blank = bytes(font.getmask(NO_CHARACTER))
    return "".join(char for char in text if not char.isspace() and bytes(font.getmask(char)) == blank)


def warn_once(missing: str) -> None:
    """Name characters that no installed font has, each once in the life of the process."""
    new = dict.fromkeys(char for char in missing if char not in _named())
    if new:
        _named().update(new)
        log.warning("no installed font shows %s; install one (for instance Noto Sans CJK) to see it", " ".join(new))


@functools.cache
def _named() -> set[str]:
    return set()
