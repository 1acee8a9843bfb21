"""The confusion matrix as a table whose figures are text."""

from collections.abc import Mapping, Sequence
from typing import Any

from utils.html import escape
from utils.text import distinct_names, shorten

MOST_CLASSES = 30  # whose cells are still read; the picture shows more
STYLE = """
.confusion td, .confusion th { padding: .3rem .45rem; border: 1px solid var(--line); text-align: right; }
.confusion thead th { writing-mode: vertical-rl; text-align: left; vertical-align: bottom; }
.confusion td { min-width: 2.2rem; }
"""


def confusion_table(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """Return counts (nc + 1, nc + 1) [predicted, true], coloured by their share of the true class.

    Nothing where they do not fit ``classes``, or are too many.
    """
    nc = len(classes)
    fits = len(counts) == nc + 1 and all(_is_row(row, nc + 1) for row in counts)
    if not fits or nc > MOST_CLASSES:
        return ""
    named = distinct_names(dict(enumerate(classes)))
    titles = [escape(shorten(name, 24)) for name in named.values()] + ["background"]
    totals = [sum(row[place] for row in counts) for place in range(nc + 1)]
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    rows = []
    for title, row in zip(titles, counts, strict=True):
        cells = "".join(_cell(count, total) for count, total in zip(row, totals, strict=True))
        rows.append(f'<tr><th scope="row">{title}</th>{cells}</tr>')
    table = f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<div class="scroll confusion">{table}</div>'


def _is_row(row: Any, length: int) -> bool:
    return isinstance(row, list) and len(row) == length and all(type(count) is int and count >= 0 for count in row)


def _cell(count: int, total: int) -> str:
    share = count / total if total else 0.0
    return f'<td style="background: rgba(11, 95, 255, {0.75 * share:.2f})">{count or ""}</td>'


def class_rows(classes: Sequence[Any]) -> list[Mapping[str, Any]]:
    """Return those entries of run.json that are classes with a name."""
    return [entry for entry in classes if isinstance(entry, dict) and isinstance(entry.get("name"), str)]
