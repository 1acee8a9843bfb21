"""results.png: losses and metrics over the epochs, from results.csv."""

import csv
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from utils.plots.figure import BLUE, GREY, figure_file

SMOOTHING = 3  # standard deviation in epochs, less in a short training


def plot_results(csv_path: Path, path: Path) -> None:
    """Draw losses and metrics of a results.csv over its first column, each with a smoothed line, in two rows."""
    with Path(csv_path).open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    header = [heading.strip() for heading in header]
    values = np.array(rows, dtype=float).reshape(-1, len(header))
    epochs = values[:, 0]
    train, metrics, val = (
        [column for column, heading in enumerate(header) if heading.startswith(part)]
        for part in ("train/", "metrics/", "val/")
    )
    columns = [*train, *metrics[:2], *val, *metrics[2:]]
    with figure_file(path, 2, len(columns) // 2, size=(3 * len(columns) // 2, 6)) as (_, axes):
        for chart, column in zip(axes.flat, columns, strict=True):
            known = np.isfinite(values[:, column])
            x, y = epochs[known], values[known, column]
            chart.plot(x, y, marker=".", markersize=5, linewidth=1.5, color=BLUE, label="each epoch")
            if len(y):
                smooth = gaussian_filter1d(y, sigma=min(SMOOTHING, len(y) / 8))
                chart.plot(x, smooth, ":", linewidth=2, color=GREY, label="smoothed")
            chart.set(title=header[column], xlabel="epoch")
            chart.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
            if len(x) == 1:
                chart.set_xlim(x[0] - 0.5, x[0] + 0.5)
            chart.set_ylim(bottom=max(chart.get_ylim()[0], 0))  # neither losses nor metrics are negative
        axes[0, 0].legend()
