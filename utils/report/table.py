"""results.csv as columns, and which epoch is the best."""

import csv
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from utils.text import counted

log = logging.getLogger(__name__)

PRECISION, RECALL, MAP50, MAP = (*("metrics/precision", "metrics/recall", "metrics/mAP_0.5", "metrics/mAP_0.5:0.95"),)
METRICS = {"precision": PRECISION, "recall": RECALL, "mAP50": MAP50, "mAP50-95": MAP}  # as shown → heading


@dataclass(frozen=True)
class Results:
    """Figures by heading, one for each of ``epochs``; nan where nothing was measured."""

    epochs: list[int] = field(default_factory=list)
    columns: Mapping[str, list[float]] = field(default_factory=dict)

    def points(self, heading: str) -> list[tuple[int, float]]:
        """Return (epoch, figure) of what was measured."""
        pairs = zip(self.epochs, self.columns.get(heading, ()), strict=False)
        return [(epoch, value) for epoch, value in pairs if math.isfinite(value)]

    def best(self, fitness: str = "default") -> int | None:
        """Return the place of the best epoch by what --fitness says; None where no epoch was validated."""
        scores = {place: self._fitness(place, fitness) for place in range(len(self.epochs))}
        known = {place: score for place, score in scores.items() if math.isfinite(score)}
        return max(known, key=lambda place: known[place], default=None)

    def at(self, place: int, heading: str) -> float:
        """Return a figure, nan where there is no such column."""
        column = self.columns.get(heading)
        return column[place] if column else math.nan

    def _fitness(self, place: int, fitness: str) -> float:
        precision, recall, map50, both = (self.at(place, heading) for heading in METRICS.values())
        f1 = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
        known = {"map": both, "map50": map50, "recall": recall, "f1": f1}
        return known.get(fitness, 0.1 * map50 + 0.9 * both)  # of a single class the table says nothing


def read_results(path: Path) -> Results:
    """Return the rows of a results.csv that are whole, those of an epoch that is there twice once, as the last says.

    An empty cell is a figure that was not measured. What is left out is told, but for a last row that is cut off, as of
    a run that goes on.
    """
    if not path.is_file():
        return Results()
    lines = path.read_text(encoding="utf-8", errors="replace").replace("\0", "").splitlines()
    header, *rows = [[cell.strip() for cell in row] for row in csv.reader(lines)] or [[]]
    found, left_out = {}, []
    for number, row in enumerate(filter(None, rows), start=1):
        values = [_number(cell) for cell in row]
        if len(row) == len(header) and None not in values and math.isfinite(values[0]):
            found[int(values[0])] = values
        elif row != header:
            left_out.append(number)
    if left_out and (left_out != [number] or not found):
        log.warning(
            "%s: %s left out, as they are no figures with commas between them", path, counted(len(left_out), "row")
        )
    elif found and MAP not in header:
        log.warning("%s: has no column %s", path, MAP)
    epochs = sorted(found)
    columns = {heading: [found[epoch][place] for epoch in epochs] for place, heading in enumerate(header)}
    return Results(epochs, columns)


def _number(cell: str) -> float | None:
    try:
        return float(cell or "nan")
    except ValueError:
        return None
