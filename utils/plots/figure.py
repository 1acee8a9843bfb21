"""The look that all curves and charts share; figures are objects of their own, pyplot's global state is not touched."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from utils.runs import atomic_write

BLUE, GREY, EDGE = "#0b5fff", "#8a8f98", "#b8bcc4"
LOOK = {
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
CJK_FAMILIES = ("Noto Sans CJK SC", "WenQuanYi Micro Hei", "Microsoft YaHei", "SimHei", "PingFang SC")


@contextmanager
def figure_file(
    path: str | Path, rows: int = 1, columns: int = 1, *, size: tuple[float, float], dpi: int = 160
) -> Iterator[tuple[Figure, np.ndarray]]:
    """Yield a figure of ``size`` inches and its axes ``(rows, columns)``; write it to ``path`` when all is drawn.

    Raises: StorageError when the file cannot be written.
    """
    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = ["DejaVu Sans", *(family for family in CJK_FAMILIES if family in installed)]
    with matplotlib.rc_context(LOOK | {"font.sans-serif": families}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, figure.subplots(rows, columns, squeeze=False)
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=dpi)
