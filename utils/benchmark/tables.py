"""Tables of measured figures as files: Markdown that is aligned in a terminal too, and CSV."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.runs import atomic_write
from utils.text import csv_cell, safe_text


def markdown_table(notes: Iterable[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a document: notes, then a table, headings first; its cells are Markdown already."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    table.insert(1, ["-" * width for width in widths])
    return [*(f"{safe_text(note)}  " for note in notes), "", *(f"| {' | '.join(line)} |" for line in table)]


def write_csv(path: Path, headings: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the ``headings`` of each row, atomically; texts are made safe for spreadsheets. Raises: StorageError."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, headings, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(
            {key: csv_cell(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows
        )
