"""Pictures of a search for hyper-parameters: each of them against the fitness, and how the search went."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from utils.plots.figure import BLUE, GREY, INK, figure_file, say_nothing_there

COLUMNS = 5
PANEL = (3.0, 2.6)  # inches
BEST = "#d4480b"


def plot_genes(
    values: Mapping[str, Sequence[float]],
    fitness: Sequence[float],
    path: str | Path,
    logarithmic: Collection[str] = (),
) -> None:
    """Draw the fitness of all trials over each hyper-parameter by name; the best trial is marked, and told above."""
    rows = -(-len(values) // COLUMNS)
    columns = min(COLUMNS, len(values))
    best = int(np.argmax(fitness))
    with figure_file(path, rows, columns, size=(PANEL[0] * columns, PANEL[1] * rows)) as (_, axes):
        for chart, (name, column) in zip(axes.flat, values.items(), strict=False):
            chart.scatter(column, fitness, s=18, color=BLUE, alpha=0.6, linewidths=0)
            chart.scatter(column[best], fitness[best], s=90, marker="*", color=BEST, zorder=3)
            chart.set_title(f"{name} = {column[best]:.4g}")
            if name in logarithmic:
                chart.set_xscale("log")
                chart.xaxis.set_major_formatter("{x:g}")  # powers would be written as formulas, which are switched off
                chart.xaxis.set_minor_formatter("")
            else:
                chart.locator_params(axis="x", nbins=4)
        for chart in axes[:, 0]:
            chart.set_ylabel("fitness")
        for chart in axes.flat[len(values) :]:
            chart.set_axis_off()


def plot_history(
    numbers: Sequence[int],
    fitness: Sequence[float],
    is_finished: Sequence[bool],
    path: str | Path,
    importance: Mapping[str, float],
) -> None:
    """Draw the fitness over the trials, in the order of their ``numbers``, with the best so far, and beside it which
    hyper-parameters matter.

    Trials that are not finished were given up in between.
    """
    x, y, whole = np.array(numbers), np.array(fitness, dtype=float), np.array(is_finished, dtype=bool)
    with figure_file(path, 1, 2, size=(11, 4.2)) as (_, axes):
        history, shares = axes[0]
        history.scatter(x[whole], y[whole], s=22, color=BLUE, linewidths=0, label="trained to the end")
        if not whole.all():
            history.scatter(x[~whole], y[~whole], s=22, facecolors="none", edgecolors=GREY, label="given up")
        best = np.maximum.accumulate(np.where(whole, y, -np.inf))
        history.step(x, np.where(np.isfinite(best), best, np.nan), where="post", color=BEST, label="the best so far")
        history.set(title="trials", xlabel="trial", ylabel="fitness")
        history.xaxis.get_major_locator().set_params(integer=True)
        history.legend()
        shares.set_title("what matters, roughly (PED-ANOVA)")
        if not importance:
            say_nothing_there(shares, "too few trials")
            shares.set_axis_off()
            return
        names = sorted(importance, key=importance.get)
        shares.barh(names, [100 * importance[name] for name in names], color=BLUE)
        shares.set_xlabel("share in %")
        shares.tick_params(axis="y", colors=INK)
