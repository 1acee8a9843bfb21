"""confusion_matrix.png: what each true class was taken for, as counts on the colour of their share."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from utils.plots.figure import figure_file, say_nothing_there
from utils.text import shorten

MAX_NUMBERED, MAX_NAMED = 30, 99  # classes up to which cells show figures and axes show names
LARGE, SMALL = 9, 6  # points of the figures in cells


def plot_confusion_matrix(matrix: np.ndarray, names: Sequence[str], path: Path) -> None:
    """Draw counts ``(nc + 1, nc + 1)`` [predicted, true], background last, as shares of each true class."""
    shares = matrix / np.maximum(matrix.sum(axis=0, keepdims=True), 1)
    side = min(max(6.0, 0.4 * len(matrix) + 3), 14.0)
    with figure_file(path, size=(side + 1, side)) as (figure, axes):
        axes = axes[0, 0]
        axes.grid(False)
        picture = axes.imshow(np.where(matrix > 0, shares, np.nan), cmap="Blues", vmin=0, vmax=1)
        figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the true class").outline.set_visible(False)
        axes.set(title="Confusion matrix: number of objects", xlabel="True", ylabel="Predicted")
        if len(names) < MAX_NAMED:
            ticks = [*map(shorten, names), "background"]
            size = 9 if len(names) < MAX_NUMBERED else 6
            axes.set_xticks(range(len(ticks)), ticks, rotation=90, fontsize=size)
            axes.set_yticks(range(len(ticks)), ticks, fontsize=size)
        if not matrix[:-1].any():
            say_nothing_there(axes, "no detections" if matrix.any() else "no labels and no detections")
        if len(names) < MAX_NUMBERED:
            _write_counts(axes, matrix, shares)


def _write_counts(axes: Axes, matrix: np.ndarray, shares: np.ndarray) -> None:
    size = LARGE if len(matrix) <= 12 and matrix.max() < 10_000 else SMALL
    for row, column in np.argwhere(matrix > 0):
        ink = "white" if shares[row, column] > 0.5 else "black"
        count = f"{int(matrix[row, column])}"
        axes.text(column, row, count, ha="center", va="center", color=ink, fontsize=size)
