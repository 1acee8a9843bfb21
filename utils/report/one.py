"""The page about one run: figures, settings, curves, classes, pictures, and where it came from."""

import math
from collections.abc import Sequence
from typing import Any

from utils.html import escape, page, table
from utils.report import charts, confusion
from utils.report.charts import Curve, chart, legend
from utils.report.confusion import class_rows, confusion_table
from utils.report.folder import RunFolder
from utils.report.origins import origin_sections
from utils.report.pictures import figure
from utils.report.settings import changed, default_hyp, default_options, restart, shown
from utils.report.table import METRICS
from utils.text import distinct_names, duration, shorten

STYLE = """
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .6rem; margin: 1rem 0; }
.facts div { background: var(--card); border-radius: 5px; padding: .5rem .75rem; }
.facts b { display: block; font-size: 1.35rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); gap: .9rem; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--note); }
pre { background: var(--card); padding: .6rem .75rem; border-radius: 5px; white-space: pre-wrap; margin: .4rem 0;
      font: .875em/1.5 ui-monospace, monospace; }
th, td:first-child, td.number { overflow-wrap: normal; }
.best { font-weight: 700; color: var(--good); }
""" + (charts.STYLE + confusion.STYLE)
PAIRS = 3  # of mosaics of the validation
SHOWN_CURVES = {"PR_curve.png": "precision over recall", "F1_curve.png": "F1 over the confidence"}


def run_page(run: RunFolder) -> str:
    """Return the document about a run; what its folder lacks is left out."""
    sections = [
        _head(run),
        _settings(run),
        _curves(run),
        _classes(run),
        _predictions(run),
        _data_pictures(run),
        *origin_sections(run),
        _again(run),
    ]
    return page(f"{run.path.name}: training report", "\n".join(filter(None, sections)), STYLE)


def best_figures(run: RunFolder) -> dict[str, float]:
    """Return the metrics of the best epoch by name, nan where none was validated."""
    place = run.results.best(run.fitness)
    return {name: math.nan if place is None else run.results.at(place, key) for name, key in METRICS.items()}


def progress(run: RunFolder) -> str:
    """Return how far a run has come, and how it ended if that is known."""
    done, wanted = len(run.results.epochs), run.options.get("epochs")
    text = f"{done} of {wanted} epochs" if isinstance(wanted, int) and not run.options.get("time") else f"{done} epochs"
    state = run.sessions[-1].get("state", "not ended, or still running") if run.sessions else ""
    return f"{text}, {state}" if state else text


def number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "–"


def _head(run: RunFolder) -> str:
    place = run.results.best(run.fitness)
    cells = [(name, number(value)) for name, value in best_figures(run).items()]
    cells += [("best epoch", "–" if place is None else str(run.results.epochs[place]))]
    if run.seconds is not None:
        cells += [("time spent", duration(run.seconds))]
    facts = "".join(f"<div><b>{escape(value)}</b>{escape(name)}</div>" for name, value in cells)
    where = f'<p class="soft"><code>{escape(run.path)}</code>, {escape(progress(run))}</p>'
    return f'<h1>{escape(run.path.name)}</h1>\n{where}\n<div class="facts">{facts}</div>{_troubles(run)}'


def _troubles(run: RunFolder) -> str:
    """Say what went wrong, if anything did."""
    found = []
    if (run.path / "nonfinite.json").is_file():
        found.append("The training diverged; <code>nonfinite.json</code> of the run says where.")
    if (run.path / "skipped.txt").is_file():
        found.append("Images or label rows were left out; <code>skipped.txt</code> of the run lists them.")
    return "".join(f'<p class="warning">{text}</p>' for text in found)


def _settings(run: RunFolder) -> str:
    if not run.options and not run.hyp:
        return ""
    parts = ["<h2>Configuration</h2>"]
    for title, values, defaults in (
        ("Options", run.options, default_options()),
        ("Hyper-parameters", run.hyp, default_hyp(run.hyp)),
    ):
        other = changed(values, defaults)
        rows = [
            (key, shown(value), shown(defaults[key]) if key in defaults else "not set") for key, value in other.items()
        ]
        text = table((title, "value", "default"), rows) if rows else f"<p>{title}: all as by default.</p>"
        rest = table((title, "value"), [(key, shown(value)) for key, value in values.items()])
        parts.append(f"{text}<details><summary>all {len(values)}</summary>{rest}</details>" if values else "")
    return "\n".join(parts)


def _curves(run: RunFolder) -> str:
    results = run.results
    if not results.epochs:
        return ""
    terms = [heading.removeprefix("train/") for heading in results.columns if heading.startswith("train/")]
    looks = [Curve("training", 0, ()), Curve("validation", 1, ())]
    losses = [
        chart(term.replace("_", " "), [look._replace(points=results.points(f"{part}/{term}")) for part, look in
              zip(("train", "val"), looks, strict=True)])
        for term in terms
    ]  # fmt: skip
    metrics = [chart(name, [Curve(name, 1, results.points(key))], from_zero=True) for name, key in METRICS.items()]
    rates = [heading for heading in results.columns if heading.startswith("x/lr")]
    names = dict(zip(rates, ("biases", "decayed weights", "norm weights"), strict=False))
    lines = [Curve(names.get(key, key), look + 2, results.points(key)) for look, key in enumerate(rates)]
    rate = [chart("learning rate", lines, from_zero=True)] if lines else []
    head = f"<h2>Curves</h2>{legend([*looks, *lines])}"
    return f'{head}<div class="charts">{"".join([*metrics, *losses, *rate])}</div>'


def _classes(run: RunFolder) -> str:
    parts, entries = [], class_rows(_items(run.record.get("classes")))
    if entries:
        keys = ("labels", *METRICS)
        names = distinct_names(dict(enumerate(entry["name"] for entry in entries)))
        rows = [
            [shorten(names[place]), *(_figure(entry.get(key)) for key in keys)] for place, entry in enumerate(entries)
        ]
        parts.append(f"<h2>Classes</h2>{table(('class', 'labels', *METRICS), rows)}")
    names = [name for name in _items(run.record.get("names")) if isinstance(name, str)]
    counts = confusion_table(_items(run.record.get("confusion")), names)
    pictured = run.picture("confusion_matrix.png")
    title = "<h2>Confusion matrix</h2>"
    if counts:
        note = (
            '<p class="soft">Rows: what the model said; columns: what is there. Detections above confidence 0.25.</p>'
        )
        parts.append(f"{title}{note}{counts}")
    elif pictured:
        parts.append(f'{title}<div class="pairs">{figure(pictured, "confusion matrix")}</div>')
    pictures = [figure(path, text) for name, text in SHOWN_CURVES.items() if (path := run.picture(name))]
    return "".join(
        [*parts, f'<h2>Over the confidence</h2><div class="pairs">{"".join(pictures)}</div>' * bool(pictures)]
    )


def _figure(value: Any) -> object:
    return round(value, 4) if isinstance(value, float) and math.isfinite(value) else "–" if value is None else value


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _predictions(run: RunFolder) -> str:
    parts = []
    for index in range(PAIRS):
        pair = {"labels": "what is there", "pred": "what was found"}
        paths = {text: run.picture(f"val_batch{index}_{part}.jpg") for part, text in pair.items()}
        parts += [figure(path, f"validation batch {index}: {text}") for text, path in paths.items() if path]
    return f'<h2>Predictions beside labels</h2><div class="pairs">{"".join(parts)}</div>' if parts else ""


def _data_pictures(run: RunFolder) -> str:
    pictures = {"train_batch0.jpg": "a training batch as the network is fed", "labels.jpg": "labels of the data set"}
    parts = [figure(path, text) for name, text in pictures.items() if (path := run.picture(name))]
    return f'<h2>Training data</h2><div class="pairs">{"".join(parts)}</div>' if parts else ""


def _again(run: RunFolder) -> str:
    if not run.options:
        return ""
    typed = [f"<pre>{escape(session['command'])}</pre>" for session in run.sessions if session.get("command")]
    folders = {str(session.get("folder")) for session in run.sessions if session.get("folder")}
    place = f"<p>Relative paths start at <code>{escape(', '.join(sorted(folders)))}</code>.</p>" if folders else ""
    how = "It was started by" if len(typed) == 1 else "It was started, and gone on with, by"
    before = f"<p>{how}:</p>{''.join(typed)}" if typed else ""
    if len(typed) > 1:
        place += "<p>Options that came with a --resume hold from the start in the first of these commands.</p>"
    return f"<h2>The same run again</h2><pre>{escape(restart(run))}</pre>{before}{place}"
