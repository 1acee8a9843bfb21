"""Read one label file: a row is ``class cx cy w h`` or ``class x1 y1 x2 y2 x3 y3 …``, coordinates in 0–1.

Every row is judged by itself: five columns are a box, an odd number from seven on is a polygon, whose box is its
extent. Rounding errors up to ROUNDING are clipped and repeated rows dropped; a row that makes no sense, or two kinds of
sense (``row_reading``), is left out and reported with its line, and the other rows stay. Whatever Python takes for the
end of a line ends a row: ``\\n``, ``\\r\\n``, ``\\r``, a form feed, U+2028 …
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from utils.data.scan.row_reading import BOX_COLUMNS, boxes_after_class, joined_rows

ROUNDING = 1e-3
MIN_POLYGON_COLUMNS = 7
SHOWN_CHARACTERS = 20  # of a value that is quoted in a message

ONE_BOX = "not a polygon; write one object per line"
PIXELS, PER_CENT = "pixels", "per cent"  # units that coordinates are written in by mistake
ROUNDED, REPEATED = "a coordinate just outside 0–1 is clipped", "repeats one above it, and is left out"

NO_POLYGON = np.zeros((0, 2))


class RowProblem(NamedTuple):
    line: int  # counted from 1
    message: str


@dataclass
class LabelRows:
    """The rows of one file."""

    boxes: list[tuple[float, ...]] | np.ndarray = field(default_factory=list)  # (class, cx, cy, w, h)
    polygons: list[np.ndarray] = field(default_factory=list)  # (k, 2) of each box; NO_POLYGON for a box row
    lines: list[int] = field(default_factory=list)  # where each box stands
    repairs: list[RowProblem] = field(default_factory=list)  # of the rows that are counted below
    ignored: list[tuple[float, ...]] | np.ndarray = field(default_factory=list)  # like boxes: regions, no labels
    bad_rows: list[RowProblem] = field(default_factory=list)
    bad_classes: list[RowProblem] = field(default_factory=list)
    bad_ids: set[float] = field(default_factory=set)  # the class ids of these
    duplicates: int = 0
    rounded: int = 0
    clipped: int = 0


class _RowError(Exception):
    """Why a row is left out."""


class _ClassError(Exception):
    """A class id that the data set does not have: the message, the id."""


def parse_labels(text: str, nc: int, shape: tuple[int, int]) -> LabelRows:
    """Return the rows of a label file's text; ``shape`` (height, width) of the image serves only the messages."""
    rows = LabelRows()
    seen = set()
    for line, content in enumerate(text.splitlines(), start=1):
        fields = content.split()
        if not fields:
            continue
        try:
            _check_columns(fields)
            class_id = _class_id(fields[0], nc)
            coordinates, rounded = _coordinates(fields[1:], shape)
            is_box = len(fields) == BOX_COLUMNS
            if not is_box and (boxes := boxes_after_class(coordinates)):
                raise _RowError(f"{len(fields)} columns look like {boxes} boxes after one class, {ONE_BOX}")
            box = (class_id, *(_box(coordinates) if is_box else _extent(coordinates)))
        except _RowError as error:
            rows.bad_rows.append(RowProblem(line, str(error)))
            continue
        except _ClassError as error:
            message, class_id = error.args
            rows.bad_classes.append(RowProblem(line, message))
            rows.bad_ids.add(class_id)
            continue
        if rounded:
            rows.rounded += 1
            rows.repairs.append(RowProblem(line, ROUNDED))
        if box in seen:
            rows.duplicates += 1
            rows.repairs.append(RowProblem(line, REPEATED))
            continue
        seen.add(box)
        rows.boxes.append(box)
        rows.lines.append(line)
        rows.polygons.append(NO_POLYGON if is_box else np.array(coordinates).reshape(-1, 2))
    return rows


def _check_columns(fields: list[str]) -> None:
    columns = len(fields)
    if columns == BOX_COLUMNS:
        return
    if reading := joined_rows(fields):
        raise _RowError(f"{columns} columns look like {reading}, {ONE_BOX}")
    if columns >= MIN_POLYGON_COLUMNS and columns % 2:
        return
    noun = "column" if columns == 1 else "columns"
    if "," in fields[0]:
        raise _RowError(f"{columns} {noun}, expected {BOX_COLUMNS}; separate the values by spaces, not commas")
    if columns == BOX_COLUMNS + 1:
        raise _RowError(f"{columns} {noun}, expected {BOX_COLUMNS}; looks like a prediction with its confidence")
    if columns > BOX_COLUMNS:
        raise _RowError(f"a polygon with {columns - 1} coordinates; they must come in pairs")
    raise _RowError(f"{columns} {noun}, expected {BOX_COLUMNS}")


def _class_id(text: str, nc: int) -> float:
    if not _is_number(text):
        raise _RowError(f"class {_quote(text)} is not a number; write the index of the class")
    value = float(text)
    if not value.is_integer():
        raise _RowError(f"class {_quote(text)} is not a whole number")
    if not 0 <= value < nc:
        shown = text if len(text) <= SHOWN_CHARACTERS else _quote(text)
        classes = f"{nc} classes (0-{nc - 1})" if nc > 1 else "1 class (0)"
        raise _ClassError(f"class {shown}, but the data-set YAML has {classes}", value)
    return value


def _coordinates(fields: list[str], shape: tuple[int, int]) -> tuple[list[float], bool]:
    """Return the numbers, clipped to 0–1, and whether that changed any."""
    try:
        values = [float(text) for text in fields]
    except ValueError:
        values = []
    if not values or "_" in "".join(fields):
        text = next(text for text in fields if not _is_number(text))
        hint = "; write a decimal point" if _is_number(text.replace(",", ".")) else ""
        raise _RowError(f"{_quote(text)} is not a number{hint}")
    if all(0.0 <= value <= 1.0 for value in values):
        return values, False
    for text, value in zip(fields, values, strict=True):
        if not math.isfinite(value):
            raise _RowError(f"{_quote(text)} is not a finite number")
        if not -ROUNDING <= value <= 1 + ROUNDING:
            raise _RowError(f"coordinate {_quote(text)} is outside 0–1{_unit(max(values), shape)}")
    return [min(max(value, 0.0), 1.0) for value in values], True


def _unit(largest: float, shape: tuple[int, int]) -> str:
    """Return in which units the coordinates of a row may be, by the largest; empty where there is no guess."""
    units = {PIXELS: f"divide by {shape[1]}×{shape[0]}"} if 1 < largest <= max(shape) else {}
    units |= {PER_CENT: "divide by 100"} if 1 < largest <= 100 else {}
    return f"; looks like {' or '.join(f'{unit}: {fix}' for unit, fix in units.items())}" if units else ""


def _box(coordinates: list[float]) -> list[float]:
    if coordinates[2] <= 0 or coordinates[3] <= 0:
        raise _RowError(f"a box of width {coordinates[2]:g} and height {coordinates[3]:g} has no area")
    return coordinates


def _extent(polygon: list[float]) -> tuple[float, float, float, float]:
    """Return the (cx, cy, w, h) that encloses a polygon."""
    xs, ys = polygon[::2], polygon[1::2]
    x1, y1, x2, y2 = min(xs), min(ys), max(xs), max(ys)
    if x1 == x2 or y1 == y2:
        raise _RowError(f"a polygon of width {x2 - x1:g} and height {y2 - y1:g} has no area")
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # 1_0 is 10 for Python alone


def _quote(text: str) -> str:
    """Return a value in quotes, escaped and cut: it may be anything, from the wrong file even."""
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…")
