"""pareto.png: mAP over latency, with the line of those that nothing beats in both."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from utils.plots.figure import BLUE, GREY, figure_file
from utils.text import safe_text, shorten

NAME_PLACES = (  # beside a point, the best first: offset in points, alignment
    ((9, 0), {"ha": "left", "va": "center"}),
    ((-9, 0), {"ha": "right", "va": "center"}),
    ((-4, 7), {"ha": "right", "va": "bottom"}),
    ((4, -7), {"ha": "left", "va": "top"}),
    ((4, 7), {"ha": "left", "va": "bottom"}),
    ((-4, -7), {"ha": "right", "va": "top"}),
    ((-4, 23), {"ha": "right", "va": "bottom"}),
    ((4, -23), {"ha": "left", "va": "top"}),
)
RADIUS = 9  # of a point, in pixels of the figure


@dataclass(frozen=True)
class Candidate:
    name: str
    latency_ms: float
    mean_ap: float  # mAP@0.5:0.95


def pareto_front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return those that no other one equals or beats in both latency and mAP, fastest first."""
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.latency_ms, -c.mean_ap)):
        if not front or candidate.mean_ap > front[-1].mean_ap:
            front.append(candidate)
    return front


def plot_pareto(candidates: Sequence[Candidate], path: Path, notes: Sequence[str] = ()) -> None:
    """Draw every candidate with its name; ``notes`` are small lines under the chart."""
    front = pareto_front(candidates)
    with figure_file(path, size=(9, 6)) as (figure, axes):
        chart = axes[0, 0]
        corners = _corners(front)
        chart.plot(*zip(*corners, strict=True), color=BLUE, linewidth=1.5, alpha=0.6)
        for c in candidates:
            color = BLUE if c in front else GREY
            chart.plot(c.latency_ms, c.mean_ap, "o", color=color, markersize=9, markeredgecolor="white")
        chart.set(title="Accuracy over latency", xlabel="Latency, fused, batch 1, p50 (ms)", ylabel="mAP@0.5:0.95")
        chart.margins(0.12)
        figure.supxlabel("\n".join(map(safe_text, notes)), fontsize=7, color=GREY)
        figure.draw_without_rendering()  # settles the layout in which the names are placed
        _place_names(chart, candidates, corners)


def _corners(front: Sequence[Candidate]) -> list[tuple[float, float]]:
    """Return the points of a staircase: the best mAP that can be had within a latency."""
    corners = [(front[0].latency_ms, front[0].mean_ap)]
    for c in front[1:]:
        corners += [(c.latency_ms, corners[-1][1]), (c.latency_ms, c.mean_ap)]
    return corners


def _place_names(chart: Axes, candidates: Sequence[Candidate], corners: Sequence[tuple[float, float]]) -> None:
    """Write each name beside its point, where it covers the fewest points, names and lines."""
    points = chart.transData.transform([(c.latency_ms, c.mean_ap) for c in candidates])
    taken = [Bbox.from_bounds(x - RADIUS, y - RADIUS, 2 * RADIUS, 2 * RADIUS) for x, y in points]
    taken += [Bbox(chart.transData.transform(ends)) for ends in pairwise(corners)]

    def clashes(label: Annotation) -> int:
        box = label.get_window_extent()
        inside = chart.bbox.contains(*box.min) and chart.bbox.contains(*box.max)
        return box.count_overlaps(taken) + (not inside)

    for c in candidates:
        labels = [
            chart.annotate(
                shorten(c.name), (c.latency_ms, c.mean_ap), xytext, textcoords="offset points", fontsize=9, **aligned
            )
            for xytext, aligned in NAME_PLACES
        ]
        best = min(labels, key=clashes)
        taken.append(best.get_window_extent())
        for label in labels:
            if label is not best:
                label.remove()
