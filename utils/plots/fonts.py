"""Find installed fonts that can show a text; nothing is downloaded.

Each character is drawn in DejaVu Sans, which comes with matplotlib, or else in the first installed font that has it.
"""

import functools
import logging
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from PIL import ImageFont

log = logging.getLogger(__name__)

PREFERRED = ("NotoSansCJK", "NotoSansSC", "wqy", "msyh", "simhei", "PingFang", "Hiragino", "NotoSans", "Arial")
TEST_SIZE = 16  # pixels; fonts of pictures, such as emoji in colour, do not open in it


class Font(NamedTuple):
    file: str
    family: str


def fonts_of(text: str) -> list[Font]:
    """Return DejaVu Sans and the installed fonts that show the rest of a text; what none shows is logged once."""
    own = _dejavu()
    found = {char: _font_with(char) for char in dict.fromkeys(text) if not _has(own, char)}
    warn_once("".join(char for char, font in found.items() if font is None))
    return [own, *dict.fromkeys(font for font in found.values() if font)]


def font_runs(text: str, size: int) -> list[tuple[ImageFont.FreeTypeFont, str]]:
    """Return the parts of a text, in order, each with a font of ``size`` pixels that has all of its characters."""
    if text.isascii():
        return [(_open(_dejavu().file, size), text)]
    fonts = fonts_of(text)
    files = [_first_with(fonts, char).file for char in text]
    pairs = groupby(zip(files, text, strict=True), key=lambda pair: pair[0])
    return [(_open(file, size), "".join(char for _, char in run)) for file, run in pairs]


def warn_once(missing: str) -> None:
    """Name characters that no installed font has, each once in the life of the process."""
    new = dict.fromkeys(char for char in missing if char not in _named())
    if new:
        _named().update(new)
        log.warning("no installed font shows %s; install one (for instance Noto Sans CJK) to see it", " ".join(new))


@functools.cache
def _named() -> set[str]:
    return set()


@functools.cache
def _dejavu() -> Font:
    return Font(str(_matplotlib_fonts() / "DejaVuSans.ttf"), "DejaVu Sans")


def _matplotlib_fonts() -> Path:
    import matplotlib  # here, because only who draws text should wait for it

    return Path(matplotlib.get_data_path(), "fonts", "ttf")


@functools.lru_cache(maxsize=65536)
def _font_with(char: str) -> Font | None:
    return next((font for font in _installed() if _has(font, char)), None)


def _first_with(fonts: Sequence[Font], char: str) -> Font:
    return next((font for font in fonts if _has(font, char)), fonts[0])


@functools.cache
def _installed() -> list[Font]:
    """Return the system's fonts, upright and regular ones first; those of matplotlib are for formulas, or signs."""
    from matplotlib import font_manager  # here, because it may list all fonts anew, which takes seconds

    own = str(_matplotlib_fonts())
    entries = [entry for entry in font_manager.fontManager.ttflist if not entry.fname.startswith(own)]
    entries.sort(key=lambda e: (_preference(e.fname), e.style != "normal", str(e.weight) not in ("400", "normal")))
    return [Font(entry.fname, entry.name) for entry in entries]


def _preference(file: str) -> int:
    name = Path(file).name
    return next((rank for rank, start in enumerate(PREFERRED) if name.startswith(start)), len(PREFERRED))


def _has(font: Font, char: str) -> bool:
    return char.isspace() or ord(char) in _characters(font.file)


@functools.cache
def _characters(file: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        ImageFont.truetype(file, TEST_SIZE)
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):  # gone, damaged, or without outlines
        return frozenset()


@functools.lru_cache(maxsize=256)
def _open(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)
