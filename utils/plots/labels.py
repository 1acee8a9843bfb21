"""labels.jpg: how often each class occurs, how large its boxes are and where they lie."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes

from utils.plots.annotate import color_of
from utils.plots.figure import EDGE, figure_file, say_nothing_there
from utils.text import counted, distinct_names, shorten

OVERLAY_BOXES, OVERLAY_SIDE = 1000, 800  # boxes drawn over each other, and pixels of that square
BINS = 50
MAX_NAMED = 30
MAX_LEVEL, MAX_LEVEL_LETTERS = 8, 60  # names, and letters in all, that fit side by side


def plot_labels(labels: np.ndarray, names: Mapping[int, str], path: Path) -> None:
    """Draw all labels ``(n, 5)`` [class, cx, cy, w, h] of a data set in 0–1."""
    with figure_file(path, 2, 2, size=(10, 9), dpi=110) as (_, axes):
        _draw_histogram(axes[0, 0], labels[:, 0].astype(int), names)
        axes[0, 1].imshow(_overlay(labels), extent=(-0.5, 0.5, 0.5, -0.5))
        part = f" (the first {OVERLAY_BOXES})" if len(labels) > OVERLAY_BOXES else ""
        axes[0, 1].set(
            title=f"Boxes around one centre{part}", xlabel="width / image width", ylabel="height / image height"
        )
        axes[0, 1].grid(False)
        _draw_density(axes[1, 0], labels[:, 1], labels[:, 2], "Centres", ("x / image width", "y / image height"))
        axes[1, 0].invert_yaxis()  # as in the picture, y runs downwards
        _draw_density(axes[1, 1], labels[:, 3], labels[:, 4], "Sizes", ("width / image width", "height / image height"))
        for chart in axes.flat[1:] if not len(labels) else ():
            say_nothing_there(chart, "no labels")


def _draw_histogram(axes: Axes, classes: np.ndarray, names: Mapping[int, str]) -> None:
    counts = np.bincount(classes, minlength=len(names))
    colors = [np.array(color_of(c)) / 255 for c in range(len(counts))]
    bars = axes.bar(range(len(counts)), counts, color=colors, edgecolor=EDGE, linewidth=0.5)
    axes.set(title=f"{counted(len(classes), 'box')}, {counted(len(names), 'class')}", ylabel="boxes")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.grid(False, axis="x")
    if len(names) <= MAX_NAMED:
        shown = distinct_names(names)
        ticks = [shorten(shown[c]) for c in range(len(names))]
        level = len(ticks) <= MAX_LEVEL and len(ticks) * max(map(len, ticks), default=0) <= MAX_LEVEL_LETTERS
        axes.set_xticks(range(len(ticks)), ticks, rotation=0 if level else 90)
        axes.bar_label(bars, fontsize=8)
    else:
        axes.set_xlabel("class id")


def _overlay(labels: np.ndarray) -> np.ndarray:
    canvas = np.full((OVERLAY_SIDE, OVERLAY_SIDE, 3), 255, dtype=np.uint8)
    for class_id, _, _, width, height in labels[:OVERLAY_BOXES].tolist():
        half = np.array([width, height]) * OVERLAY_SIDE / 2
        first, last = OVERLAY_SIDE / 2 - half, OVERLAY_SIDE / 2 + half
        cv2.rectangle(canvas, first.astype(int).tolist(), last.astype(int).tolist(), color_of(class_id), thickness=1)
    return canvas


def _draw_density(axes: Axes, x: np.ndarray, y: np.ndarray, title: str, names: tuple[str, str]) -> None:
    counts, _, _ = np.histogram2d(y, x, bins=BINS, range=((0, 1), (0, 1)))
    shown = np.where(counts > 0, counts, np.nan)
    axes.imshow(shown, extent=(0, 1, 0, 1), origin="lower", cmap="Blues", vmin=0, aspect="auto")
    axes.set(title=title, xlabel=names[0], ylabel=names[1])
