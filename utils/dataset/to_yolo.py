"""Write label files. Numbers have all their digits, so that the same rows are read again."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from utils.data.scan.discovery import label_path
from utils.data.scan.label_file import parse_labels
from utils.dataset.items import Item
from utils.runs import write_text
from utils.text import counted

log = logging.getLogger(__name__)


def write_yolo(out: Path, split: str, items: Sequence[tuple[Item, str]], names: Mapping[int, str]) -> str:
    """Write ``labels/SPLIT``, and return the place of the images."""
    folder = out / "images" / split
    for item, name in items:
        if item.has_labels:
            file = Path(label_path(str(folder / name)))
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, "".join(f"{row}\n" for row in _rows(item, len(names))), sync=False)
    ignored = sum(len(item.rows.ignored) for item, _ in items)
    if ignored:
        log.warning(
            "%s: %s left out, which label files have no way to say",
            split,
            counted(ignored, "crowd or difficult object"),
        )
    return f"images/{split}"


def _rows(item: Item, nc: int) -> Iterator[str]:
    for box, polygon in zip(np.asarray(item.rows.boxes).tolist(), item.rows.polygons, strict=True):
        class_id, *values = box
        row = _row(class_id, polygon.ravel() if len(polygon) else values)
        if len(polygon) and parse_labels(row, nc, item.shape).bad_rows:  # it could be boxes, see ``row_reading``
            row = _row(class_id, [*polygon.ravel(), *polygon[0]])
        yield row


def _row(class_id: float, values: Sequence[float]) -> str:
    return " ".join((str(int(class_id)), *(repr(min(max(float(value), 0.0), 1.0)) for value in values)))
