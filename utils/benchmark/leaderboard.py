"""The table that ``benchmark.py`` fills row by row: kept on disk, ordered by mAP, as Markdown, CSV and picture."""

import json
import logging
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from utils.benchmark.tables import markdown_table, write_csv
from utils.plots.pareto import Candidate, plot_pareto
from utils.runs import new_run_dir, write_text
from utils.text import markdown_cell

log = logging.getLogger(__name__)

RESULTS = "results.json"  # everything; the other files are made from it
NOTHING = "–"


@dataclass(frozen=True)
class Row:
    """What was measured of one backbone; None = not measured. The fields are the headings of leaderboard.csv."""

    backbone: str
    head: str = ""  # of --heads; empty where the model has its own
    map50: float | None = None
    map: float | None = None  # mAP@0.5:0.95
    parameters: int | None = None
    parameters_fused: int | None = None
    gflops: float | None = None
    gflops_fused: float | None = None
    unfused_p50_ms: float | None = None
    unfused_p95_ms: float | None = None
    fused_p50_ms: float | None = None
    fused_p95_ms: float | None = None
    onnx_p50_ms: float | None = None
    onnx_p95_ms: float | None = None
    training_images_per_s: float | None = None
    peak_memory_gb: float | None = None
    remark: str = ""  # why something could not be measured
    source: str = ""  # fingerprint of the user's own file that the backbone is in
    finished: bool = False  # False: interrupted or failed, to be measured again

    @property
    def key(self) -> tuple[str, str]:
        return self.backbone, self.head

    @property
    def order(self) -> tuple:
        """Sort key: the best mAP first, then those without by latency, then the rest."""
        return (self.map is None, -(self.map or 0.0), self.fused_p50_ms is None, self.fused_p50_ms or 0.0)


def _number(name: str, form: str, unit: float = 1) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        value = getattr(row, name)
        return NOTHING if value is None else format(value / unit, form)

    return cell


def _pair(first: str, second: str, form: str, unit: float = 1) -> Callable[[Row], str]:
    cells = _number(first, form, unit), _number(second, form, unit)
    return lambda row: NOTHING if getattr(row, first) is None else " / ".join(cell(row) for cell in cells)


COLUMNS: dict[str, Callable[[Row], str]] = {  # heading of the Markdown table → cell
    "backbone": lambda row: markdown_cell(row.backbone),
    "head": lambda row: row.head,
    "mAP50": _number("map50", ".3f"),
    "mAP50-95": _number("map", ".3f"),
    "parameters, training / fused (M)": _pair("parameters", "parameters_fused", ".2f", 1e6),
    "GFLOPs, training / fused": _pair("gflops", "gflops_fused", ".2f"),
    "unfused p50 / p95 (ms)": _pair("unfused_p50_ms", "unfused_p95_ms", ".1f"),
    "fused p50 / p95 (ms)": _pair("fused_p50_ms", "fused_p95_ms", ".1f"),
    "ONNX p50 / p95 (ms)": _pair("onnx_p50_ms", "onnx_p95_ms", ".1f"),
    "training (images/s)": _number("training_images_per_s", ".1f"),
    "peak memory (GB)": _number("peak_memory_gb", ".2f"),
    "remark": lambda row: markdown_cell(row.remark),
}


class Leaderboard:
    """Rows of one folder, all measured with the same settings."""

    def __init__(self, folder: Path, settings: dict[str, Any], notes: list[str], rows: list[Row]) -> None:
        """``notes`` are the lines above the table, which say what its figures mean."""
        self.folder, self.settings, self.notes = folder, settings, notes
        self.rows = {row.key: row for row in rows}

    def has(self, backbone: str, head: str = "", source: str = "") -> bool:
        """True when the row is finished and the backbone's file, if it has one, is the same as then."""
        row = self.rows.get((backbone, head))
        return row is not None and row.finished and row.source == source

    def add(self, row: Row) -> None:
        """Put a row in, in the place of an earlier one of the same backbone and head, and write all files anew."""
        self.rows[row.key] = row
        self.save()

    def ordered(self) -> list[Row]:
        return sorted(self.rows.values(), key=lambda row: row.order)

    def markdown(self) -> str:
        """Return the notes and the table, its columns aligned."""
        empty = {name for name in ("head", "remark") if not any(getattr(row, name) for row in self.rows.values())}
        columns = {heading: cell for heading, cell in COLUMNS.items() if heading not in empty}
        lines = [list(columns), *([cell(row) for cell in columns.values()] for row in self.ordered())]
        return "\n".join(markdown_table(self.notes, lines))

    def save(self) -> None:
        """Write results.json and, from the same rows, leaderboard.md, leaderboard.csv and pareto.png."""
        rows = [asdict(row) for row in self.ordered()]
        write_text(self.folder / RESULTS, json.dumps({"settings": self.settings, "rows": rows}, indent=1))
        write_text(self.folder / "leaderboard.md", self.markdown() + "\n")
        headings = [field.name for field in fields(Row) if field.name not in ("source", "finished")]
        write_csv(self.folder / "leaderboard.csv", headings, rows)
        shown = [row for row in self.ordered() if row.map is not None and row.fused_p50_ms is not None]
        candidates = [Candidate(" ".join(filter(None, row.key)), row.fused_p50_ms, row.map) for row in shown]
        if candidates:
            plot_pareto(candidates, self.folder / "pareto.png", self.notes)


def open_leaderboard(project: str | Path, name: str, settings: dict[str, Any], notes: list[str]) -> Leaderboard:
    """Return the leaderboard in ``project/name`` or ``name2``, ``name3``, … that was begun with these settings.

    Where there is none, an empty one in a new folder: rows of different settings are never in one table.
    """
    settings = json.loads(json.dumps(settings))  # as it comes back from the file
    for path in sorted(Path(project).absolute().glob(f"*/{RESULTS}")):
        stored = _read(path)
        if re.fullmatch(re.escape(name) + r"\d*", path.parent.name) and stored.get("settings") == settings:
            rows = [Row(**row) for row in stored["rows"]]
            log.info("%s: %d finished rows are kept", path.parent, sum(row.finished for row in rows))
            return Leaderboard(path.parent, settings, notes, rows)
    board = Leaderboard(new_run_dir(project, name), settings, notes, [])
    board.save()
    return board


def _read(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        stored = {}
    return stored if isinstance(stored, dict) else {}
