"""Recognise labels that are not read, in another format or folders, so that their owner hears how to get others."""

import os
from pathlib import Path

from utils.text import visible

SUPERVISELY = "export COCO or YOLO from Supervisely, whose own projects are not read"
LABELME = "make one COCO file of all, with the package labelme2coco for example, and name it in the data-set YAML"
TABLE = "write the boxes of the table as label files, COCO or Pascal VOC, which docs/data.md describes"


def foreign_labels(image: str) -> tuple[str, str] | None:
    """Return the labels beside an image that are not read, and what to do; None where there are none."""
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
    return _in_capitals(path)


def _in_capitals(image: Path) -> tuple[str, str] | None:
    """Return that a folder is called ``Images`` or ``Labels``, which leads no image to its label file."""
    place = next((folder for folder in image.parents if folder.name.lower() == "images"), None)
    if place is None:
        return None
    folders = [place, *(other for other in place.parent.iterdir() if other.name.lower() == "labels" and other.is_dir())]
    if len(folders) == 1 or all(folder.name.islower() for folder in folders):
        return None
    names = " and ".join(visible(folder.name) for folder in folders)
    return f"the folders {names} of {visible(place.parent)} are not in lower case", "call them images and labels"
