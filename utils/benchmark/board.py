"""The table that a benchmark fills row by row: kept on disk, gone on with, written as Markdown, CSV and picture."""

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from utils.benchmark.subprocess_run import IsolatedError
from utils.benchmark.tables import markdown_table, write_csv
from utils.runs import new_run_dir, write_text
from utils.text import counted

log = logging.getLogger(__name__)

RESULTS = "results.json"  # everything; the other files are made from it
NOTHING = "–"


class Row(Protocol):
    """What was measured of one thing, a frozen dataclass; the CSV has its fields as headings, None = not measured."""

    remark: str  # why something could not be measured
    source: str  # fingerprint of what else the figures depend on; not in the tables
    finished: bool  # False: interrupted or failed, to be measured again; not in the tables

    @property
    def key(self) -> tuple[str, ...]:
        """What it is a row of; a table has one of each."""

    @property
    def order(self) -> tuple:
        """Sort key."""


@dataclass(frozen=True)
class Kind:
    """What a table is like."""

    name: str  # of its files, without suffix
    row: Callable[..., Row]
    columns: Mapping[str, Callable[[Any], str]]  # heading of the Markdown table → cell
    optional: Mapping[str, str]  # heading → field that must have something in some row for it to be shown
    draw: Callable[["Board"], None]


class Board:
    """Rows of one folder, all measured with the same settings."""

    def __init__(self, kind: Kind, folder: Path, settings: dict[str, Any], notes: list[str], rows: list[Any]) -> None:
        """``notes`` are the lines above the table, which say what its figures mean."""
        self.kind, self.folder, self.settings, self.notes = kind, folder, settings, notes
        self.rows = {row.key: row for row in rows}

    def has(self, *key: str, source: str = "") -> bool:
        """True when the row is finished and what its figures depend on is the same as then."""
        row = self.rows.get(key)
        return row is not None and row.finished and row.source == source

    def add(self, row: Row) -> None:
        """Put a row in, in the place of an earlier one of the same key, and write all files anew."""
        self.rows[row.key] = row
        self.save()

    def measure(self, title: str, key: Mapping[str, str], source: str, figures: Callable[[], Iterator[dict]]) -> None:
        """Add the row of a ``key``, given by field, from ``figures`` as they come; why they end early is a remark."""
        log.info("\n%s %s", title, name := " ".join(filter(None, key.values())))
        found: dict[str, Any] = {}
        remarks = []
        try:
            for more in figures():
                remarks += [more["remark"]] if "remark" in more else []
                found |= more
        except IsolatedError as error:
            remarks.append(str(error))
            log.error("%s failed: %s", name, error)
        self.add(self.kind.row(**found | key | {"source": source, "remark": "; ".join(remarks)}))

    def ordered(self) -> list[Any]:
        return sorted(self.rows.values(), key=lambda row: row.order)

    def markdown(self) -> str:
        """Return the notes and the table, its columns aligned."""
        rows = self.ordered()
        empty = {title for title, name in self.kind.optional.items() if not any(getattr(row, name) for row in rows)}
        columns = {heading: cell for heading, cell in self.kind.columns.items() if heading not in empty}
        lines = [list(columns), *([cell(row) for cell in columns.values()] for row in rows)]
        return "\n".join(markdown_table(self.notes, lines))

    def save(self) -> None:
        """Write results.json and, from the same rows, the Markdown, the CSV and the picture."""
        rows = [asdict(row) for row in self.ordered()]
        write_text(self.folder / RESULTS, json.dumps({"settings": self.settings, "rows": rows}, indent=1))
        write_text(self.folder / f"{self.kind.name}.md", self.markdown() + "\n")
        headings = [field.name for field in fields(self.kind.row) if field.name not in ("source", "finished")]
        write_csv(self.folder / f"{self.kind.name}.csv", headings, rows)
        self.kind.draw(self)


def open_board(kind: Kind, project: str | Path, name: str, settings: dict[str, Any], notes: list[str]) -> Board:
    """Return the table in ``project/name`` or ``name2``, ``name3``, … that was begun with these settings.

    Where there is none, an empty one in a new folder: rows of different settings are never in one table.
    """
    settings = json.loads(json.dumps(settings))  # as it comes back from the file
    for path in sorted(Path(project).absolute().glob(f"*/{RESULTS}")):
        stored = _read(path)
        if re.fullmatch(re.escape(name) + r"\d*", path.parent.name) and stored.get("settings") == settings:
            rows = [kind.row(**row) for row in stored["rows"]]
            log.info("%s: kept: %s", path.parent, counted(sum(row.finished for row in rows), "finished row"))
            return Board(kind, path.parent, settings, notes, rows)
    board = Board(kind, new_run_dir(project, name), settings, notes, [])
    board.save()
    return board


def _read(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        stored = {}
    return stored if isinstance(stored, dict) else {}


def number(name: str, form: str, unit: float = 1) -> Callable[[Any], str]:
    """Return a cell that shows a field."""

    def cell(row: Any) -> str:
        value = getattr(row, name)
        return NOTHING if value is None else format(value / unit, form)

    return cell


def pair(first: str, second: str, form: str, unit: float = 1) -> Callable[[Any], str]:
    """Return a cell that shows two fields, of which the second is there where the first is."""
    cells = number(first, form, unit), number(second, form, unit)
    return lambda row: NOTHING if getattr(row, first) is None else " / ".join(cell(row) for cell in cells)
