"""A character is drawn in whatever installed font has it, in pictures and in charts."""

import warnings

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.text import Text

from utils.plots import fonts
from utils.plots.annotate import text_image
from utils.plots.confusion import plot_confusion_matrix
from utils.plots.fonts import Font, font_runs, fonts_of

CAT, SUN = "\u732b", "\u65e5"  # neither is in DejaVu Sans
INK, PAPER = (0, 0, 0), (255, 255, 255)


def block_font(path, family, chars):
    """Write a font in which each character is a black block."""
    pen = TTGlyphPen(None)
    pen.moveTo((50, 0))
    for point in ((50, 800), (950, 800), (950, 0)):
        pen.lineTo(point)
    pen.closePath()
    block, nothing = pen.glyph(), TTGlyphPen(None).glyph()
    names = [f"char{index}" for index in range(len(chars))]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names])
    builder.setupCharacterMap(dict(zip(map(ord, chars), names, strict=True)))
    builder.setupGlyf({".notdef": nothing, **dict.fromkeys(names, block)})
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", *names], (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return Font(str(path), family)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Two fonts of one character each are all that is installed."""
    found = [block_font(tmp_path / "cat.ttf", "Cat Sans", CAT), block_font(tmp_path / "sun.ttf", "Sun Sans", SUN)]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    for font in found:
        font_manager.fontManager.addfont(font.file)
    monkeypatch.setattr(fonts, "_installed", lambda: found)
    fonts._font_with.cache_clear()
    fonts._named.cache_clear()
    yield found
    fonts._font_with.cache_clear()
    text_image.cache_clear()


def test_each_part_of_a_text_has_a_font_with_its_characters(installed):
    runs = font_runs(f"a{CAT}{CAT} é{SUN}", 16)

    assert [(font.getname()[0], part) for font, part in runs] == [
        *(("DejaVu Sans", "a"), ("Cat Sans", CAT * 2), ("DejaVu Sans", " é"), ("Sun Sans", SUN)),
    ]


def test_a_label_shows_the_characters_of_all_fonts(installed, caplog):
    label = text_image(CAT + SUN, 20, PAPER, INK)

    dark = (label < 100).all(axis=-1)
    assert dark[:, 3:20].mean() > 0.5 and dark[:, 23:40].mean() > 0.5
    assert not caplog.text


def test_a_chart_draws_them_too_without_a_warning(installed, tmp_path, monkeypatch, caplog):
    families = {}
    draw = Text.draw
    monkeypatch.setattr(
        Text, "draw", lambda self, *args: families.update({self.get_text(): self.get_family()}) or draw(self, *args)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_confusion_matrix(np.eye(3), [CAT, SUN], tmp_path / "chart.png")

    assert families[CAT] == ["DejaVu Sans", "Cat Sans"]
    assert families[SUN] == ["DejaVu Sans", "Sun Sans"]
    assert not caplog.text


def test_a_character_that_no_font_has_is_named_once_in_a_sentence(installed, caplog):
    for _ in range(2):
        assert [font.family for font in fonts_of(f"{CAT}\u6708")] == ["DejaVu Sans", "Cat Sans"]

    assert caplog.messages == [
        "no installed font shows \u6708; install one (for instance Noto Sans CJK) to see it",
    ]


def test_fonts_for_formulas_and_of_signs_for_missing_glyphs_are_no_fonts_for_text():
    fonts._installed.cache_clear()

    assert not {"Last Resort High-Efficiency", "cmr10", "STIXNonUnicode"} & {font.family for font in fonts._installed()}
