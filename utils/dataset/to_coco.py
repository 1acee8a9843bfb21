"""Write a COCO file: boxes [x, y, w, h] in pixels with all their digits, polygons, crowds."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from utils.data.scan.pixel_boxes import pixel_rows
from utils.dataset.items import Item
from utils.runs import write_text
from utils.text import counted

log = logging.getLogger(__name__)


def write_coco(out: Path, split: str, items: Sequence[tuple[Item, str]], names: Mapping[int, str]) -> str:
    """Write ``annotations/instances_SPLIT.json``, whose ids count from 1, and return its place."""
    images, rows = [], []
    for image_id, (item, name) in enumerate(items, start=1):
        height, width = item.shape
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for row in _annotations(item):
            rows.append({"id": len(rows) + 1, "image_id": image_id, **row})
    categories = [{"id": number + 1, "name": name} for number, name in names.items()]
    place = f"annotations/instances_{split}.json"
    (out / "annotations").mkdir(exist_ok=True)
    content = {"images": images, "annotations": rows, "categories": categories}
    write_text(out / place, json.dumps(content, ensure_ascii=False))
    say_cut_off(split, [item for item, _ in items])
    return place


def _annotations(item: Item) -> Iterator[dict]:
    sides = np.array(item.shape[::-1], float)  # width, height
    for (class_id, *box), polygon in zip(np.asarray(item.rows.boxes).tolist(), item.rows.polygons, strict=True):
        outline = polygon * sides
        yield _annotation(class_id, pixel_box(box, sides), 0) | (
            {"segmentation": [outline.ravel().tolist()], "area": _area(outline)} if len(polygon) else {}
        )
    for class_id, *box in np.asarray(item.rows.ignored).tolist():
        yield _annotation(class_id, pixel_box(box, sides), 1)


def _annotation(class_id: float, box: list[float], iscrowd: int) -> dict:
    return {
        "category_id": int(class_id) + 1,
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": iscrowd,
        "segmentation": [],
    }


def pixel_box(box: Sequence[float], sides: np.ndarray) -> list[float]:
    """Return [x, y, w, h] in pixels of a box [cx, cy, w, h]."""
    centre, size = np.array(box[:2]) * sides, np.array(box[2:]) * sides
    return [*(centre - size / 2).tolist(), *size.tolist()]


def _area(points: np.ndarray) -> float:
    x, y = points.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def say_cut_off(split: str, items: Sequence[Item]) -> None:
    """Say how many boxes reach out of their images, which is left as it is in label files alone."""
    count = 0
    for item in items:
        if len(item.rows.boxes):
            sides = np.tile(item.shape[::-1], 2)
            found = pixel_rows(
                np.asarray(item.rows.boxes)[:, 1:] * sides, np.tile(item.shape, (len(item.rows.boxes), 1))
            )
            count += int((found.clipped | found.rounded).sum())
    if count:
        log.warning(
            "%s: %s out of the image, and will be cut off there when read",
            split,
            counted(count, "box") + (" reach" if count > 1 else " reaches"),
        )
