"""confusion_matrix.png: what each true class was taken for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from utils.plots.figure import figure_file
from utils.text import shorten

MAX_NUMBERED, MAX_NAMED = 30, 99  # classes up to which cells show figures and axes show names
HIDDEN_BELOW = 0.005


def plot_confusion_matrix(matrix: np.ndarray, names: Sequence[str], path: Path) -> None:
    """Draw counts ``(nc + 1, nc + 1)`` [predicted, true], background last, as shares of each true class."""
    shares = matrix / (matrix.sum(axis=0, keepdims=True) + 1e-9)
    shares = np.where(shares < HIDDEN_BELOW, np.nan, shares)
    side = min(max(6.0, 0.4 * len(matrix) + 3), 14.0)
    with figure_file(path, size=(side + 1, side)) as (figure, axes):
        axes = axes[0, 0]
        axes.grid(False)
        picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the true class").outline.set_visible(False)
        axes.set(title="Confusion matrix", xlabel="True", ylabel="Predicted")
        if len(names) < MAX_NAMED:
            ticks = [*map(shorten, names), "background"]
            size = 9 if len(names) < MAX_NUMBERED else 6
            axes.set_xticks(range(len(ticks)), ticks, rotation=90, fontsize=size)
            axes.set_yticks(range(len(ticks)), ticks, fontsize=size)
        if len(names) < MAX_NUMBERED:
            _write_figures(axes, shares)


def _write_figures(axes: Axes, shares: np.ndarray) -> None:
    size = 9 if len(shares) <= 12 else 6
    for row, column in np.argwhere(~np.isnan(shares)):
        value = shares[row, column]
        ink = "white" if value > 0.5 else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=size)
