"""Write Pascal VOC's XML files: corners in pixels that count from 1, with all their digits."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from utils.data.scan.voc import CORNERS, FIRST_PIXEL
from utils.dataset.items import Item
from utils.dataset.to_coco import pixel_box, say_cut_off
from utils.runs import write_text
from utils.text import counted

log = logging.getLogger(__name__)


def write_voc(out: Path, split: str, items: Sequence[tuple[Item, str]], names: Mapping[int, str]) -> str:
    """Write ``Annotations`` and ``ImageSets/Main/SPLIT.txt``, and return the place of the latter."""
    place = f"ImageSets/Main/{split}.txt"
    for folder in ("Annotations", "ImageSets/Main"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for item, name in items:
        if item.has_labels:
            text = "".join(f"{line}\n" for line in _lines(item, name, names))
            write_text(out / f"Annotations/{_id(name)}.xml", text, sync=False)
    write_text(out / place, "".join(f"{_id(name)}\n" for _, name in items))
    outlines = sum(len(polygon) > 0 for item, _ in items for polygon in item.rows.polygons)
    if outlines:
        log.warning("%s: %s written as boxes, as VOC has no others", split, counted(outlines, "polygon"))
    say_cut_off(split, [item for item, _ in items])
    return place


def _id(name: str) -> str:
    return name.rpartition(".")[0]


def _lines(item: Item, name: str, names: Mapping[int, str]) -> Iterator[str]:
    height, width = item.shape
    yield "<annotation>"
    yield f"  <folder>JPEGImages</folder><filename>{escape(name)}</filename>"
    yield f"  <size><width>{width}</width><height>{height}</height></size>"
    sides = np.array([width, height], float)
    for difficult, rows in enumerate((item.rows.boxes, item.rows.ignored)):
        for class_id, *box in np.asarray(rows).tolist():
            x, y, w, h = pixel_box(box, sides)
            values = (x + FIRST_PIXEL, y + FIRST_PIXEL, x + w + FIRST_PIXEL, y + h + FIRST_PIXEL)
            corners = "".join(f"<{key}>{value!r}</{key}>" for key, value in zip(CORNERS, values, strict=True))
            facts = f"<name>{escape(names[int(class_id)])}</name><difficult>{difficult}</difficult>"
            yield f"  <object>{facts}<bndbox>{corners}</bndbox></object>"
    yield "</annotation>"
