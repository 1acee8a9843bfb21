"""formats.png: latency and mAP of one model in several formats, a bar for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from utils.plots.figure import BLUE, GREY, INK, figure_file
from utils.text import safe_text


@dataclass(frozen=True)
class Bar:
    """One format; its ``mean_ap``, mAP@0.5:0.95, None where it was not measured."""

    name: str
    p50_ms: float
    p95_ms: float
    mean_ap: float | None


def plot_formats(bars: Sequence[Bar], path: Path, notes: Sequence[str] = ()) -> None:
    """Draw the first bar, what the others are compared with, in grey; ``notes`` are small lines under the charts."""
    colors = [GREY, *[BLUE] * (len(bars) - 1)]
    with figure_file(path, columns=2, size=(11, 2.2 + 0.45 * len(bars))) as (figure, axes):
        latency, accuracy = axes[0]
        places = range(len(bars))
        latency.barh(places, [bar.p50_ms for bar in bars], color=colors, height=0.6)
        for place, bar in enumerate(bars):
            latency.plot([bar.p50_ms, bar.p95_ms], [place, place], color=INK, linewidth=1.2)
            latency.plot(bar.p95_ms, place, "|", color=INK, markersize=9)
            _write(latency, max(bar.p50_ms, bar.p95_ms), place, f"{bar.p50_ms:.1f}")
        accuracy.barh(places, [bar.mean_ap or 0.0 for bar in bars], color=colors, height=0.6)
        for place, bar in enumerate(bars):
            _write(accuracy, bar.mean_ap or 0.0, place, "not measured" if bar.mean_ap is None else f"{bar.mean_ap:.4f}")
        latency.set(title="Latency of one image", xlabel="ms: bar p50, line to p95")
        accuracy.set(title="Accuracy", xlabel="mAP@0.5:0.95")
        latency.set_yticks(places, [bar.name for bar in bars])
        accuracy.set_yticks(places, [])
        for chart in (latency, accuracy):
            chart.invert_yaxis()
            chart.grid(axis="y", visible=False)
            chart.margins(x=0.2)
            chart.autoscale_view()
            chart.set_xlim(left=0)
        figure.supxlabel("\n".join(map(safe_text, notes)), fontsize=7, color=GREY)


def _write(chart: Axes, value: float, place: int, text: str) -> None:
    """Write a number behind the end of a bar."""
    chart.annotate(text, (value, place), (6, 0), textcoords="offset points", va="center", fontsize=9)
