"""study.png: mAP over the time of an image, one line for each model, one point for each image size."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from utils.plots.figure import figure_file, write_legend
from utils.text import shorten


def plot_study(lines: Mapping[str, Sequence[tuple[int, float, float]]], path: Path, device: str) -> None:
    """Draw for each model by name its points (image size, milliseconds per image, mAP@0.5:0.95)."""
    with figure_file(path, size=(9, 6)) as (figure, axes):
        chart = axes[0, 0]
        drawn = []
        for points in lines.values():
            sizes, times, figures = zip(*points, strict=True)
            drawn += chart.plot(times, figures, "o-", linewidth=1.5, markersize=6, markeredgecolor="white")
            for size, x, y in zip(sizes, times, figures, strict=True):
                chart.annotate(f"{size}", (x, y), (4, -10), textcoords="offset points", fontsize=7)
        chart.set(title="mAP over time, by image size", xlabel=f"ms per image, {device}", ylabel="mAP@0.5:0.95")
        chart.set_xlim(left=0)
        write_legend(figure, drawn, [shorten(name) for name in lines])
