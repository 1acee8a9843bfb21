"""Curves over the epochs as SVG inside the page: what is text there stays text, and follows light and dark."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from utils.html import escape

WIDTH, HEIGHT = 360, 220  # of the drawing; the page stretches it
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 26  # of what surrounds the curves
TICKS, EPOCH_TICKS = 4, 7  # at most so many steps
MOST_POINTS = 400  # of a curve; more cannot be told apart
COLORS, DASHES = 8, ("", "6 3", "2 3")  # of the style; the curves behind them are dashed
STYLE = """
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: .9rem; }
.charts figcaption { margin: 0 0 .25rem; font-weight: 600; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
svg .grid { stroke: var(--line); }
svg polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .9rem; margin: .4rem 0 .6rem; }
.legend svg { width: 1.6rem; display: inline-block; vertical-align: middle; margin-right: .35rem; }
:root { --c0: #0b5fff; --c1: #c8500a; --c2: #1d7a46; --c3: #8b3fc7; --c4: #b3123f; --c5: #087e8b; --c6: #7a6a00;
        --c7: #5b6570; }
@media (prefers-color-scheme: dark) {
  :root { --c0: #7aa9ff; --c1: #ff9d5c; --c2: #6fd39a; --c3: #cf9bff; --c4: #ff88a8; --c5: #5ed1dd; --c6: #d8c34a;
          --c7: #a9b3bd; }
}
"""


class Curve(NamedTuple):
    """One line of a chart; ``look`` is its colour, the same wherever the same thing is meant."""

    label: str
    look: int
    points: Sequence[tuple[int, float]]  # (epoch, figure)


def legend(curves: Sequence[Curve]) -> str:
    """Return which line is what."""
    sample = '<svg viewBox="0 0 26 8" aria-hidden="true"><polyline points="0,4 26,4" {}/></svg>'
    parts = [f"<span>{sample.format(_look(curve))}{escape(curve.label)}</span>" for curve in curves]
    return f'<div class="legend">{"".join(parts)}</div>'


def chart(title: str, curves: Sequence[Curve], from_zero: bool = False) -> str:
    """Return a figure with the curves that have points; the figures begin at 0 if so wished."""
    curves = [curve for curve in curves if curve.points]
    caption = f"<figcaption>{escape(title)}</figcaption>"
    if not curves:
        return f'<figure>{caption}<p class="soft">not measured</p></figure>'
    epochs = [epoch for curve in curves for epoch, _ in curve.points]
    values = [value for curve in curves for _, value in curve.points]
    low, high = _limits(0.0 if from_zero else min(values), max(values))
    across = _Scale(min(epochs) - (min(epochs) == max(epochs)) * 0.5, max(epochs) + (min(epochs) == max(epochs)) * 0.5)
    marks = [*_grid(_Scale(low, high)), *_epochs(across)]
    marks += [_line(curve, across, _Scale(low, high)) for curve in curves]
    label = escape(f"{title} over the epochs, the last {_short(curves[0].points[-1][1])}")
    return (
        f'<figure>{caption}<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(marks)}</svg>'
        "</figure>"
    )


class _Scale(NamedTuple):
    """Where a figure from ``low`` to ``high`` stands."""

    low: float
    high: float

    def x(self, value: float) -> float:
        return LEFT + (value - self.low) / (self.high - self.low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)


def _limits(low: float, high: float) -> tuple[float, float]:
    """Return limits on round figures that enclose both and differ."""
    if not high > low:
        low, high = (low - abs(low) * 0.1, high + abs(high) * 0.1) if low else (0.0, 1.0)
    step = _step(high - low)
    return math.floor(low / step) * step, math.ceil(high / step) * step


def _step(span: float, ticks: int = TICKS) -> float:
    """Return 1, 2 or 5 times a power of ten, of which about so many ``ticks`` fill the span."""
    power = 10.0 ** math.floor(math.log10(span / ticks))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power * ticks >= span * 0.999)


def _grid(scale: _Scale) -> Iterator[str]:
    step = _step(scale.high - scale.low)
    for number in range(round((scale.high - scale.low) / step) + 1):
        value = scale.low + number * step
        y = f"{scale.y(value):.1f}"
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text x="{LEFT - 6}" y="{y}" text-anchor="end" dominant-baseline="central">{_short(value, step)}</text>'


def _epochs(scale: _Scale) -> Iterator[str]:
    step = max(1, round(_step(max(scale.high - scale.low, 1), EPOCH_TICKS)))
    first = math.ceil(scale.low / step) * step
    for epoch in range(first, math.floor(scale.high) + 1, step):
        yield f'<text x="{scale.x(epoch):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{epoch}</text>'


def _line(curve: Curve, across: _Scale, up: _Scale) -> str:
    points = list(curve.points)
    every = -(-len(points) // MOST_POINTS)
    points = points[::every] + ([points[-1]] if (len(points) - 1) % every else [])
    if len(points) == 1:
        [(epoch, value)] = points
        color = f"var(--c{curve.look % COLORS})"
        return f'<circle cx="{across.x(epoch):.1f}" cy="{up.y(value):.1f}" r="3.5" style="fill: {color}"/>'
    places = " ".join(f"{across.x(epoch):.1f},{up.y(value):.1f}" for epoch, value in points)
    return f'<polyline points="{places}" {_look(curve)}/>'


def _look(curve: Curve) -> str:
    dash = DASHES[curve.look // COLORS % len(DASHES)]
    return f'style="stroke: var(--c{curve.look % COLORS}); stroke-dasharray: {dash or "none"}"'


def _short(value: float, step: float | None = None) -> str:
    """Return a figure with as many digits as steps of its axis need."""
    if step is None:
        return f"{value:.4g}"
    rounded = round(value / step) * step
    if rounded and (abs(rounded) >= 1e5 or step < 1e-3):
        return f"{rounded:.1e}"
    return f"{rounded:.{max(0, -math.floor(math.log10(step)))}f}" if rounded else "0"
