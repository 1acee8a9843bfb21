"""Precision, recall and F1 as curves: PR_curve.png, P_curve.png, R_curve.png, F1_curve.png."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from utils.plots.figure import BLUE, GREY, figure_file, write_legend
from utils.text import shorten

MAX_LEGEND = 20  # classes that get a colour and a line of the legend each
SIZE = (9, 6)  # inches


def plot_pr_curve(
    recall: np.ndarray, precision: np.ndarray, ap50: np.ndarray, names: Sequence[str], path: Path
) -> None:
    """Draw precision ``(K, N)`` over recall ``(N,)`` at IoU 0.5; ``ap50`` and ``names`` are those of the K classes."""
    mean_ap = float(np.mean(ap50)) if len(ap50) else 0.0
    labels = [f"{shorten(name)}  {value:.3f}" for name, value in zip(names, ap50, strict=True)]
    with figure_file(path, size=SIZE) as (figure, axes):
        _draw_curves(figure, recall, precision, labels, f"all classes  {mean_ap:.3f} mAP@0.5")
        axes[0, 0].set(title="Precision over recall at IoU 0.5", xlabel="Recall", ylabel="Precision")


def plot_confidence_curve(
    confidence: np.ndarray, values: np.ndarray, quantity: str, names: Sequence[str], path: Path
) -> None:
    """Draw a quantity ``(K, N)`` over the confidence threshold ``(N,)``; the best point of the mean is marked."""
    mean = _mean(values, confidence)
    best = int(mean.argmax())
    with figure_file(path, size=SIZE) as (figure, axes):
        label = f"all classes  {mean[best]:.2f} at {confidence[best]:.3f}"
        _draw_curves(figure, confidence, values, [shorten(name) for name in names], label)
        axes[0, 0].plot(confidence[best], mean[best], "o", color=BLUE, markersize=9, markeredgecolor="white")
        title = f"{quantity} over confidence at IoU 0.5"
        axes[0, 0].set(title=title, xlabel="Confidence threshold", ylabel=quantity)


def _draw_curves(figure: Figure, x: np.ndarray, curves: np.ndarray, labels: Sequence[str], mean_label: str) -> None:
    axes, named = figure.axes[0], []
    axes.set_prop_cycle(color=matplotlib.color_sequences["tab10" if len(labels) <= 10 else "tab20"])
    if len(labels) <= MAX_LEGEND:
        named = [axes.plot(x, curve, linewidth=1)[0] for curve in curves]
    else:
        axes.plot(x, curves.T, linewidth=1, color=GREY, alpha=0.4)
    named += axes.plot(x, _mean(curves, x), color=BLUE, linewidth=3)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    write_legend(figure, named, [*labels, mean_label][-len(named) :])


def _mean(curves: np.ndarray, x: np.ndarray) -> np.ndarray:
    return curves.mean(axis=0) if len(curves) else np.zeros_like(x)
