"""reparam.png: latency per image and peak memory over the batch size, of the training form and the deployed one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from utils.plots.figure import BLUE, GREY, figure_file, say_nothing_there

COLORS = (BLUE, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # told apart by the colour-blind too
STYLES = {"training": {"linestyle": "--", "markerfacecolor": "white"}, "deployed": {"linestyle": "-"}}


DECADE = 10  # range of values from which three labels a decade are enough


@dataclass(frozen=True)
class Curve:
    """One backbone in one form: milliseconds per image and gigabytes by batch size."""

    backbone: str
    form: str
    latency_ms: Mapping[int, float]
    memory_gb: Mapping[int, float]


def plot_reparam(curves: Sequence[Curve], path: Path, notes: Sequence[str] = ()) -> None:
    """Draw both charts side by side; ``notes`` are small lines under them."""
    colors = dict(zip(dict.fromkeys(curve.backbone for curve in curves), cycle(COLORS), strict=False))
    with figure_file(path, columns=2, size=(11, 5.4)) as (figure, axes):
        latency, memory = axes[0]
        for curve in curves:
            look = {"color": colors[curve.backbone], "marker": "o", "markersize": 5} | STYLES[curve.form]
            label = f"{curve.backbone}, {curve.form}"
            latency.plot(curve.latency_ms.keys(), curve.latency_ms.values(), label=label, **look)
            memory.plot(curve.memory_gb.keys(), curve.memory_gb.values(), **look)
        latency.set(title="Latency per image, p50", ylabel="ms")
        memory.set(title="Peak memory")
        batches = sorted({batch for curve in curves for batch in (*curve.latency_ms, *curve.memory_gb)})
        for chart in (latency, memory):
            if any(len(line.get_ydata()) for line in chart.lines):
                _logarithmic(chart, batches)
                chart.yaxis.set_major_formatter(FuncFormatter(_memory_tick if chart is memory else _tick))
            else:  # a process that ended early leaves memory without latencies
                say_nothing_there(chart, "not measured")
        figure.legend(loc="outside upper center", ncols=min(len(colors), 3))
        figure.supxlabel("\n".join(notes), fontsize=7, color=GREY)


def _logarithmic(chart: Axes, batches: Sequence[int]) -> None:
    """Scale both axes by doublings; label the batch sizes, and values that are near enough to each other."""
    chart.set_xscale("log", base=2)
    chart.set_yscale("log")
    chart.set_xlabel("images in a batch")
    chart.set_xticks(batches, [str(batch) for batch in batches])
    chart.xaxis.set_minor_locator(NullLocator())
    low, high = chart.get_ylim()
    chart.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > DECADE * low else (1, 1.5, 2, 3, 4, 5, 6, 8)))
    chart.yaxis.set_minor_formatter(NullFormatter())


def _tick(value: float, _: int) -> str:
    return f"{value:g}"


def _memory_tick(gigabytes: float, _: int) -> str:
    return f"{gigabytes:g} GB" if gigabytes >= 1 else f"{1e3 * gigabytes:g} MB"


def memory_text(gigabytes: float) -> str:
    """Return a memory in the unit that it is read in best."""
    return f"{gigabytes:.2f} GB" if gigabytes >= 1 else f"{1e3 * gigabytes:.0f} MB"
