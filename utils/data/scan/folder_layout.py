"""Propose a data-set YAML for a folder that has none, by what labelling tools and exporters write.

Nothing is written: the data set is read-only, and which images validate is for its owner to say.
"""

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from utils.data.scan.discovery import is_image_name
from utils.data.scan.voc_lists import IMAGES, is_voc_folder
from utils.errors import ConfigError
from utils.yaml_file import read_text

CLASS_FILES = ("classes.txt", "obj.names", "_darknet.labels", "labels.txt", "_classes.txt")  # a name in each line
JSON_FILES = ("_annotations.coco.json", "result.json", "instances_default.json")  # Roboflow, Label Studio, CVAT
SPLIT_NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation")}
SHOWN_NAMES = 100
SPLIT_COMMAND = "python -m utils.dataset.split"


def proposed_yaml(folder: Path) -> str:
    """Return lines of a data-set YAML, each behind a line end, and what else there is to do."""
    places = {split: _place(folder, split) for split in SPLIT_NAMES}
    whole = places["train"] or _whole(folder)
    lines = [f"train: {whole or 'PATH OF THE IMAGES'}"]
    if places["train"] and places["val"]:
        lines.append(f"val: {places['val']}")
    if not (whole and whole.endswith(".json")):
        lines.append(f"names: {_names(folder, whole)}")
    text = "".join(f"\n  {line}" for line in lines)
    if len(lines) > 1 and lines[1].startswith("val:"):
        return text
    command = f"{SPLIT_COMMAND} --data {shlex.quote(str(folder))} --val 0.2 --out FOLDER"
    return f"{text}\n  # then share the images out: {command}"


def _place(folder: Path, split: str) -> str:
    """Return where the images of a split lie, empty where no usual place has them."""
    for name in SPLIT_NAMES[split]:
        for place in (f"images/{name}", f"{name}/images", name):
            if (folder / place).is_dir():
                found = next((file for file in JSON_FILES if (folder / place / file).is_file()), "")
                return f"{place}/{found}" if found else place
        for place in (f"annotations/instances_{name}.json", f"ImageSets/Main/{name}.txt", f"{name}.txt"):
            if (folder / place).is_file():
                return place
    return ""


def _whole(folder: Path) -> str:
    """Return where all images lie."""
    entries = _entries(folder)
    found = next((file for file in JSON_FILES if file in entries or (folder / "annotations" / file).is_file()), "")
    if found:
        return found if found in entries else f"annotations/{found}"
    if is_voc_folder(entries):
        return IMAGES
    if "images" in entries:
        return "images"
    return "." if any(map(is_image_name, entries)) else ""


def _entries(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208 - names are enough
    except OSError:
        return set()


def _names(folder: Path, images: str) -> str:
    """Return the names of the classes as YAML; JSON is YAML, whatever is in them."""
    for file in _class_files(folder, images):
        try:
            names = [line.strip() for line in read_text(file).splitlines()]
        except ConfigError:
            continue
        names = names[: max((number for number, name in enumerate(names, 1) if name), default=0)]
        if len(names) > SHOWN_NAMES:
            return f"[the {len(names)} lines of {file.relative_to(folder)}]"
        if names and all(names):
            return json.dumps(names, ensure_ascii=False)
    return "[FIRST CLASS, SECOND CLASS]"


def _class_files(folder: Path, images: str) -> Iterator[Path]:
    places = (folder, folder / "labels", folder / images)
    yield from (place / name for place in places for name in CLASS_FILES if (place / name).is_file())
