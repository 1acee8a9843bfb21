"""Recognise labels that are not read, so that their owner hears how to get others."""

import os
from pathlib import Path

from utils.text import visible

SUPERVISELY = "export COCO or YOLO from Supervisely, whose own projects are not read"
LABELME = "make one COCO file of all, with the package labelme2coco for example, and name it in the data-set YAML"
TABLE = "write the boxes of the table as label files, COCO or Pascal VOC, which docs/data.md describes"


def foreign_labels(image: str) -> tuple[str, str] | None:
    """Return the labels in a foreign format that lie beside an image, and what to do; None where there are none."""
    path = Path(image)
    supervisely, labelme = path.parent.parent / "ann" / f"{path.name}.json", path.with_suffix(".json")
    if supervisely.is_file():
        return f"{visible(supervisely)} is of Supervisely", SUPERVISELY
    if labelme.is_file():
        return f"{visible(labelme)} is a JSON file of one image, as labelme writes it", LABELME
    for folder in (path.parent, path.parent.parent):
        tables = sorted(name for name in os.listdir(folder) if name.lower().endswith(".csv"))  # noqa: PTH208
        if tables:
            return f"{visible(folder / tables[0])} is a table", TABLE
    return None
