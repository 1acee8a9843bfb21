"""Precision, recall and F1 as curves: PR_curve.png, P_curve.png, R_curve.png, F1_curve.png."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from utils.plots.annotate import color_of
from utils.plots.figure import GREY, INK, figure_file, say_nothing_there, write_legend
from utils.text import shorten

MAX_LEGEND = 20  # classes that get a colour and a line of the legend each
SIZE = (9, 6)  # inches


def plot_pr_curve(
    recall: np.ndarray, precision: np.ndarray, ap50: np.ndarray, names: Mapping[int, str], path: Path
) -> None:
    """Draw precision ``(K, N)`` over recall ``(N,)`` at IoU 0.5; ``ap50`` and ``names``, by id, are theirs."""
    mean_ap = float(np.mean(ap50)) if len(ap50) else 0.0
    labels = {c: f"{shorten(name)}  {value:.3f}" for (c, name), value in zip(names.items(), ap50, strict=True)}
    with figure_file(path, size=SIZE) as (figure, axes):
        _draw_curves(figure, recall, precision, labels, f"all classes  {mean_ap:.3f} mAP@0.5")
        axes[0, 0].set(title="Precision over recall at IoU 0.5", xlabel="Recall", ylabel="Precision")


def plot_confidence_curve(
    confidence: np.ndarray, values: np.ndarray, quantity: str, names: Mapping[int, str], path: Path
) -> None:
    """Draw a quantity ``(K, N)`` over the confidence threshold ``(N,)``; the best point of the mean is marked."""
    mean = _mean(values, confidence)
    best = int(mean.argmax())
    with figure_file(path, size=SIZE) as (figure, axes):
        label = f"all classes  {mean[best]:.2f} at {confidence[best]:.3f}" if mean.any() else "all classes  0"
        _draw_curves(figure, confidence, values, {c: shorten(name) for c, name in names.items()}, label)
        if mean.any():
            axes[0, 0].plot(confidence[best], mean[best], "o", color=INK, markersize=9, markeredgecolor="white")
        title = f"{quantity} over confidence at IoU 0.5"
        axes[0, 0].set(title=title, xlabel="Confidence threshold", ylabel=quantity)


def _draw_curves(figure: Figure, x: np.ndarray, curves: np.ndarray, labels: Mapping[int, str], mean_label: str) -> None:
    axes, named = figure.axes[0], []
    if len(labels) <= MAX_LEGEND:
        colors = [np.array(color_of(class_id)) / 255 for class_id in labels]
        named = [axes.plot(x, curve, linewidth=1, color=color)[0] for curve, color in zip(curves, colors, strict=True)]
    else:
        axes.plot(x, curves.T, linewidth=1, color=GREY, alpha=0.4)
    named += axes.plot(x, _mean(curves, x), color=INK, linewidth=3)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    if not curves.any():
        say_nothing_there(axes, "no correct detections" if len(curves) else "no labels")
    write_legend(figure, named, [*labels.values(), mean_label][-len(named) :])


def _mean(curves: np.ndarray, x: np.ndarray) -> np.ndarray:
    return curves.mean(axis=0) if len(curves) else np.zeros_like(x)
