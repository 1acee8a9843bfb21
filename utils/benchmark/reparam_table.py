"""What ``benchmark.py --reparam`` has measured, as Markdown, CSV and picture."""

import logging
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from utils.benchmark.tables import markdown_table, write_csv
from utils.plots.reparam import Curve, memory_text, plot_reparam
from utils.runs import write_text
from utils.text import markdown_cell, safe_text

log = logging.getLogger(__name__)

FORMS = ("training", "deployed")
NOTHING = "–"


@dataclass(frozen=True)
class Row:
    """One backbone at one batch size; the fields are the headings of reparam.csv, None = not measured."""

    backbone: str
    batch: int
    training_p50_ms: float | None = None
    training_p95_ms: float | None = None
    deployed_p50_ms: float | None = None
    deployed_p95_ms: float | None = None
    training_memory_gb: float | None = None
    deployed_memory_gb: float | None = None

    @property
    def speed_up(self) -> float | None:
        """Median latency of the training form over that of the deployed one."""
        return self.training_p50_ms / self.deployed_p50_ms if self.training_p50_ms and self.deployed_p50_ms else None

    def times(self) -> str:
        """Return both medians as text."""
        return f"training form {self.training_p50_ms:.1f} ms, deployed {self.deployed_p50_ms:.1f} ms"


HEADINGS = ("backbone", "batch", "training (ms)", "deployed (ms)", "faster", "memory")


class ReparamTable:
    """Rows of one folder, in the order in which they were measured."""

    def __init__(self, folder: Path, notes: list[str]) -> None:
        """``notes`` are the lines above the table, which say what its figures mean."""
        self.folder, self.notes = folder, notes
        self.rows: dict[tuple[str, int], Row] = {}
        self.remarks: list[str] = []  # what was left out, and why

    def add(self, backbone: str, batch: int, figures: dict[str, float]) -> None:
        """Put figures into a row, by the names of :class:`Row`."""
        row = self.rows.get((backbone, batch), Row(backbone, batch))
        self.rows[backbone, batch] = replace(row, **figures)

    def remark(self, text: str) -> None:
        """Say what was left out, now and under the table."""
        log.warning("%s", text)
        self.remarks.append(text)

    def markdown(self) -> str:
        """Return the notes, the table with aligned columns, and the remarks."""
        lines = [HEADINGS, *map(_cells, self.rows.values())]
        remarks = ["", *(f"* {safe_text(text)}" for text in self.remarks)] if self.remarks else []
        return "\n".join([*markdown_table(self.notes, lines), *remarks])

    def save(self) -> None:
        """Write reparam.md, reparam.csv and reparam.png."""
        write_text(self.folder / "reparam.md", self.markdown() + "\n")
        rows = (asdict(row) | {"speed_up": row.speed_up} for row in self.rows.values())
        write_csv(self.folder / "reparam.csv", [*(field.name for field in fields(Row)), "speed_up"], rows)
        if self.rows:
            plot_reparam(self.curves(), self.folder / "reparam.png", self.notes)

    def curves(self) -> list[Curve]:
        """Return the figures of each backbone and form over the batch size."""
        curves = []
        for backbone in dict.fromkeys(row.backbone for row in self.rows.values()):
            rows = [row for row in self.rows.values() if row.backbone == backbone]
            for form in FORMS:
                times = {row.batch: getattr(row, f"{form}_p50_ms") for row in rows}
                memory = {row.batch: getattr(row, f"{form}_memory_gb") for row in rows}
                per_image = {batch: time / batch for batch, time in times.items() if time is not None}
                curves.append(Curve(backbone, form, per_image, {b: m for b, m in memory.items() if m is not None}))
        return curves


def _cells(row: Row) -> tuple[str, ...]:
    times = [_pair(getattr(row, f"{form}_p50_ms"), getattr(row, f"{form}_p95_ms"), ".1f") for form in FORMS]
    memory = [getattr(row, f"{form}_memory_gb") for form in FORMS]
    faster = NOTHING if row.speed_up is None else f"{row.speed_up:.2f}×"
    return (
        markdown_cell(row.backbone),
        str(row.batch),
        *times,
        faster,
        " → ".join(NOTHING if gb is None else memory_text(gb) for gb in memory),
    )


def _pair(first: float | None, second: float | None, form: str) -> str:
    return " / ".join(NOTHING if value is None else format(value, form) for value in (first, second))
