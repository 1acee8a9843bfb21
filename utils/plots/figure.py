"""The look that all curves and charts share; figures are objects of their own, pyplot's global state is not touched."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from utils.plots.fonts import fonts_of, warn_once
from utils.runs import atomic_write

BLUE, GREY, EDGE, INK = "#0b5fff", "#8a8f98", "#b8bcc4", "#1c1f26"
LOOK = {
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "text.usetex": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": EDGE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8ec",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
}
MISSING_GLYPH = re.compile(r"Glyph (\d+) ")  # the start of matplotlib's warning


@contextmanager
def figure_file(
    path: str | Path, rows: int = 1, columns: int = 1, *, size: tuple[float, float], dpi: int = 160
) -> Iterator[tuple[Figure, np.ndarray]]:
    """Yield a figure of ``size`` inches and its axes ``(rows, columns)``; write it to ``path`` when all is drawn.

    Raises: StorageError when the file cannot be written.
    """
    with matplotlib.rc_context(LOOK):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        with _missing_glyphs_in_our_words():
            yield figure, figure.subplots(rows, columns, squeeze=False)
            choose_fonts(figure)
            with atomic_write(path) as temporary:
                figure.savefig(temporary, dpi=dpi)


def choose_fonts(figure: Figure) -> None:
    """Give every text of a figure the fonts that have its characters."""
    for text in figure.findobj(Text):
        if not text.get_text().isascii():
            text.set_family([font.family for font in fonts_of(text.get_text())])


@contextmanager
def _missing_glyphs_in_our_words() -> Iterator[None]:
    """Log once which characters no installed font has, in the place of a warning per drawing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        glyph = MISSING_GLYPH.match(str(warning.message))
        if glyph:
            warn_once(chr(int(glyph[1])))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def say_nothing_there(axes: Axes, what: str) -> None:
    """Write into an empty chart why it is empty."""
    axes.text(0.5, 0.5, what, transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=14)


def write_legend(figure: Figure, lines: Sequence[Artist], labels: Sequence[str]) -> None:
    """Name lines at the right of the figure; matplotlib itself hides a label that is empty or begins with ``_``."""
    legend = figure.legend(lines, [str(number) for number in range(len(lines))], loc="outside right upper")
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)
