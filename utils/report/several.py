"""Runs side by side: what differs first, the metrics with the best marked, the curves over each other."""

import math
from collections.abc import Mapping, Sequence

from utils.html import escape, page, table
from utils.report.charts import Curve, chart, legend
from utils.report.folder import RunFolder
from utils.report.one import STYLE, best_figures, number, progress
from utils.report.origins import data_facts, origin
from utils.report.settings import ASIDE, shown
from utils.report.table import METRICS
from utils.text import columns, distinct, duration, fit_right, shorten

NAME_WIDTH, LONGEST = 30, 60  # characters
Rows = dict[str, list[str]]  # what → its text for each run


def names_of(runs: Sequence[RunFolder]) -> list[str]:
    """Return the shortest names that tell the runs apart: ``exp``, ``cats/exp``, or whole paths."""
    candidates = {}
    for place, run in enumerate(runs):
        parts = run.path.parts
        candidates[place] = [*("/".join(parts[-count:]) for count in (1, 2, 3) if count < len(parts)), str(run.path)]
    return list(distinct(candidates).values())


def comparison_page(runs: Sequence[RunFolder]) -> str:
    """Return the document about several runs."""
    names = names_of(runs)
    differing, same = _split(_settings(runs))
    origins, _ = _split(_origins(runs))
    parts = [f"<h1>{len(runs)} runs side by side</h1>", _where(runs, names)]
    parts += ["<h2>What differs</h2>", _table(names, differing | origins) or "<p>No option and no hyper-parameter.</p>"]
    parts += ["<h2>Metrics of the best epoch</h2>", _metrics(runs, names), _curves(runs, names)]
    if same:
        rows = [(name, texts[0]) for name, texts in same.items()]
        parts.append(
            f"<details><summary>{len(rows)} settings that all share</summary>{table(('', ''), rows)}</details>"
        )
    return page(f"{len(runs)} training runs side by side", "\n".join(filter(None, parts)), STYLE)


def comparison_text(runs: Sequence[RunFolder]) -> str:
    """Return a table for a terminal; ``*`` marks the best of a column."""
    names = names_of(runs)
    width = min(max(map(columns, names)), NAME_WIDTH)
    line = "%s%8s%8s" + "%11s" * len(METRICS) + "%14s"
    lines = [line % (" " * width, "epochs", "best", *METRICS, "time")]
    for name, run, figures in zip(names, runs, _marked(runs), strict=True):
        cells = [f"{number(value)}{'*' if is_best else ' '}" for value, is_best in figures]
        lines.append(line % (fit_right(name, width), len(run.results.epochs), _best_epoch(run), *cells, _time(run)))
    return "\n".join(lines)


def _where(runs: Sequence[RunFolder], names: Sequence[str]) -> str:
    return table(("run", "folder", "state"), [(n, run.path, progress(run)) for n, run in zip(names, runs, strict=True)])


def _settings(runs: Sequence[RunFolder]) -> Rows:
    options = _rows([run.options for run in runs])
    hyp = _rows([run.hyp for run in runs])
    return {f"--{key.replace('_', '-')}": row for key, row in options.items() if key not in ASIDE} | hyp


def _rows(values: Sequence[Mapping[str, object]]) -> Rows:
    """Return each key with its value in each mapping; ``not given`` where one lacks it."""
    keys = dict.fromkeys(key for mapping in values for key in mapping)
    return {key: [shown(each[key]) if key in each else "not given" for each in values] for key in keys}


def _origins(runs: Sequence[RunFolder]) -> Rows:
    """Return code, machine and data of the runs that have a record of them."""
    told = []
    for run in runs:
        data = {f"data: {name}": text for name, text in data_facts(run).items() if name != "file"}
        told.append(origin(run.sessions[-1]) | data if run.sessions else {})
    return _rows(told)


def _split(rows: Rows) -> tuple[Rows, Rows]:
    """Return those that differ, and those that do not."""
    differing = {name: texts for name, texts in rows.items() if len(set(texts)) > 1}
    return differing, {name: texts for name, texts in rows.items() if name not in differing}


def _table(names: Sequence[str], rows: Rows) -> str:
    return table(
        ("", *names), [(name, *(shorten(text, LONGEST) for text in row)) for name, row in rows.items()]
    ) * bool(rows)


def _marked(runs: Sequence[RunFolder]) -> list[list[tuple[float, bool]]]:
    """Return for each run its metrics, and whether each is the best of all runs."""
    figures = [list(best_figures(run).values()) for run in runs]
    best = [
        max((value for value in column if math.isfinite(value)), default=math.nan)
        for column in zip(*figures, strict=True)
    ]
    return [[(value, value == top) for value, top in zip(row, best, strict=True)] for row in figures]


def _metrics(runs: Sequence[RunFolder], names: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{title}</th>' for title in ("run", "epochs", "best epoch", *METRICS, "time"))
    rows = []
    for name, run, figures in zip(names, runs, _marked(runs), strict=True):
        cells = [f'<td class="number{" best" * best}">{number(value)}</td>' for value, best in figures]
        first = [len(run.results.epochs), _best_epoch(run)]
        plain = [f'<td class="number">{escape(text)}</td>' for text in first]
        last = f'<td class="number">{escape(_time(run))}</td>'
        rows.append(f"<tr><td>{escape(name)}</td>{''.join([*plain, *cells, last])}</tr>")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _best_epoch(run: RunFolder) -> str:
    place = run.results.best(run.fitness)
    return "–" if place is None else str(run.results.epochs[place])


def _time(run: RunFolder) -> str:
    return "–" if run.seconds is None else duration(run.seconds)


def _curves(runs: Sequence[RunFolder], names: Sequence[str]) -> str:
    headings = dict.fromkeys(heading for run in runs for heading in run.results.columns)
    losses = [heading for heading in headings if heading.startswith(("train/", "val/"))]

    def drawn(title: str, heading: str, from_zero: bool) -> str:
        pairs = enumerate(zip(names, runs, strict=True))
        return chart(title, [Curve(name, look, run.results.points(heading)) for look, (name, run) in pairs], from_zero)

    figures = [drawn(name, heading, True) for name, heading in METRICS.items()]
    figures += [drawn(heading.replace("_", " "), heading, False) for heading in losses]
    key = legend([Curve(name, look, ()) for look, name in enumerate(names)])
    return f'<h2>Curves</h2>{key}<div class="charts">{"".join(figures)}</div>' if headings else ""
