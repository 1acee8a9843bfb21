"""What a COCO file says, in flat arrays: images, categories and annotations, of a data set of any size.

The format: https://cocodataset.org/#format-data. Ids may have gaps, and the three lists any order. Numbers may be
written as floats, as tools that keep them in tables do, and all but ids as texts. Of an outline in
several parts one polygon is made: behind each further part it goes back to where the first one starts, so that the ways
between the parts have no area. An outline that is no polygon (RLE) is not read: its box says where the object is.
"""

import logging
import os
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.data.scan.json_stream import FIX, stream_json
from utils.data.scan.scan_cache import Table, cache_file, facts_digest, load_table, pack, store_table, unpack
from utils.errors import DataError
from utils.text import visible

log = logging.getLogger(__name__)

LISTS = ("images", "annotations", "categories")
NO_BOX = (float("nan"),) * 4
MIN_NUMBERS = 6  # of a polygon
OFF = ("", "0", "0.0", "false")  # texts


@dataclass(frozen=True)
class CocoIndex:
    """The images and categories of a COCO file."""

    path: Path
    image_ids: list[int | str]
    names: list[str]  # of the image files, as written
    sizes: np.ndarray  # (N, 2) int64 [height, width]; 0 where the file does not say
    categories: dict[int | str, str]  # name by id
    groups: frozenset[str]  # categories that only group others: they have no annotations, and are super-categories


@dataclass(frozen=True)
class CocoLabels:
    """The A annotations of a COCO file."""

    ids: list[Any] | np.ndarray  # (A,) as written, -1 where there is no number
    image: np.ndarray  # (A,) position of the image, -1 for one that is not in the file
    category: np.ndarray  # (A,) position of the category, -1 for one that is not in the file
    boxes: np.ndarray  # (A, 4) float64 [x, y, w, h] in pixels; nan where there is none
    crowd: np.ndarray  # (A,) bool
    corners: np.ndarray  # (A,) points of each polygon, 0 where there is none
    points: np.ndarray  # (P, 2) float64, pixels


def open_coco(path: Path) -> tuple[CocoIndex, CocoLabels | None]:
    """Return the images and categories of a COCO file, from the cache where it has not changed.

    Where they are not in the cache, the whole file is read, and its annotations are returned too. Raises: DataError.
    """
    cached, digest = cache_file([path, "index"]), facts_digest([str(path)], "COCO")
    table = load_table(cached, digest)
    if table is None:
        log.info("reading %s", visible(path))
        index, labels = read_coco(path)
        store_table(cached, digest, _pack(index))
        return index, labels
    index = CocoIndex(
        path,
        sizes=table["sizes"],
        categories=dict(unpack(table["categories"])),
        groups=frozenset(unpack(table["groups"])),
        **{key: unpack(table[key]) for key in ("image_ids", "names")},
    )
    return index, None


def _pack(index: CocoIndex) -> Table:
    plain = {
        "image_ids": index.image_ids,
        "names": index.names,
        "categories": list(index.categories.items()),
        "groups": sorted(index.groups),
    }
    return {"sizes": index.sizes, **{key: pack(value) for key, value in plain.items()}}


def read_coco(path: Path) -> tuple[CocoIndex, CocoLabels]:
    """Return all that a COCO file says. Raises: DataError for a file that is none."""
    gathered, keys = _Gathered(path), {}
    for key, value in stream_json(path):
        keys[key] = value if key in LISTS else ...
        if key in LISTS and value is not ...:
            gathered.add(key, value)
    if missing := [key for key in LISTS if key not in keys]:
        raise _not_coco(path, list(keys), missing)
    return gathered.index(), gathered.labels()


def _not_coco(path: Path, keys: Sequence[str], missing: Sequence[str]) -> DataError:
    if {"shapes", "imagePath"} <= set(keys):
        return DataError(f"{visible(path)}: a file of labelme, of one image, instead of COCO annotations", FIX)
    if missing == ["annotations"]:
        return DataError(f"{visible(path)}: has images, but no annotations, as files of test images have", FIX)
    has = ", ".join(visible(key) for key in keys[:8]) or "nothing"
    return DataError(f"{visible(path)}: no COCO annotations: {' and '.join(missing)} missing, it has {has}", FIX)


class _Gathered:
    """The entries of a COCO file as they come by; an id stands for its number among those seen so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.images: dict[Any, tuple[str, Any, Any]] = {}
        self.categories: dict[Any, tuple[str, str]] = {}
        self.numbers: dict[str, dict[Any, int]] = {"image_id": {}, "category_id": {}}
        self.ids, self.image, self.category, self.corners = array("q"), array("q"), array("q"), array("q")
        self.crowd, self.boxes, self.points = array("b"), array("d"), array("d")

    def add(self, key: str, entry: Any) -> None:
        if not isinstance(entry, dict):
            raise DataError(f"{visible(self.path)}: {key}: {str(entry)[:40]!r} instead of an object", FIX)
        {"images": self._image, "annotations": self._annotation, "categories": self._category}[key](entry)

    def _image(self, entry: dict) -> None:
        image_id = self._id(entry, "id", "an image")
        name = entry.get("file_name")
        if not isinstance(name, str) or not name:
            raise DataError(
                f"{visible(self.path)}: image id {image_id} has no file_name", "name the file of each image"
            )
        image = name, entry.get("height"), entry.get("width")
        if self.images.setdefault(image_id, image) != image:
            what = f"image id {image_id} is both {visible(self.images[image_id][0])} and {visible(name)}"
            raise DataError(f"{visible(self.path)}: {what}", "give each image an id of its own")

    def _category(self, entry: dict) -> None:
        category_id, name = self._id(entry, "id", "a category"), entry.get("name")
        if not isinstance(name, str) or not name:
            raise DataError(f"{visible(self.path)}: category id {category_id} has no name", "name each category")
        if self.categories.setdefault(category_id, (name, str(entry.get("supercategory"))))[0] != name:
            what = f"category id {category_id} is both {visible(self.categories[category_id][0])} and {visible(name)}"
            raise DataError(f"{visible(self.path)}: {what}", "give each category an id of its own")

    def _annotation(self, entry: dict) -> None:
        own = entry.get("id")
        self.ids.append(own if type(own) is int and abs(own) < 2**63 else -1)
        for key, column in (("image_id", self.image), ("category_id", self.category)):
            numbers = self.numbers[key]
            column.append(numbers.setdefault(self._id(entry, key, "an annotation"), len(numbers)))
        self.crowd.append(_is_set(entry.get("iscrowd")))
        self.boxes.extend(_box(entry.get("bbox")))
        before = len(self.points)
        outline = entry.get("segmentation")
        if not self.crowd[-1] and isinstance(outline, list):
            _add_outline(self.points, outline)
        self.corners.append((len(self.points) - before) // 2)

    def _id(self, entry: dict, key: str, what: str) -> int | str:
        value = entry.get(key)
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, int | str) and not isinstance(value, bool):
            return value
        where = f"{what} with the keys {', '.join(visible(k) for k in list(entry)[:6])}"
        raise DataError(
            f"{visible(self.path)}: {where} has {key} {str(value)[:20]!r}, neither a whole number nor a text", FIX
        )

    def index(self) -> CocoIndex:
        used = self.numbers["category_id"]
        parents = {parent for name, parent in self.categories.values() if parent != name}
        sizes = [_size(height, width) for _, height, width in self.images.values()]
        return CocoIndex(
            self.path,
            list(self.images),
            [name for name, _, _ in self.images.values()],
            np.array(sizes, np.int64).reshape(-1, 2),
            {key: name for key, (name, _) in self.categories.items()},
            frozenset(name for key, (name, _) in self.categories.items() if key not in used and name in parents),
        )

    def labels(self) -> CocoLabels:
        return CocoLabels(
            np.frombuffer(self.ids, np.int64),
            _positions(self.numbers["image_id"], self.images)[np.frombuffer(self.image, np.int64)],
            _positions(self.numbers["category_id"], self.categories)[np.frombuffer(self.category, np.int64)],
            np.frombuffer(self.boxes, np.float64).reshape(-1, 4),
            np.frombuffer(self.crowd, np.int8).astype(bool),
            np.frombuffer(self.corners, np.int64),
            np.frombuffer(self.points, np.float64).reshape(-1, 2),
        )


def _positions(numbers: dict[Any, int], entries: Iterable[Any]) -> np.ndarray:
    """Return the position among the entries of each id that annotations name, in the order of their numbers."""
    position = {entry: index for index, entry in enumerate(entries)}
    return np.array([position.get(name, -1) for name in numbers], np.int64)


def _size(height: Any, width: Any) -> tuple[int, int]:
    try:
        sides = float(height), float(width)
    except (TypeError, ValueError, OverflowError):
        return 0, 0
    whole = all(side.is_integer() and 0 < side < 2**31 for side in sides)
    return (int(sides[0]), int(sides[1])) if whole else (0, 0)


def _is_set(value: Any) -> bool:
    """Return whether a switch is on, which may be written as a text."""
    return value.strip().lower() not in OFF if isinstance(value, str) else bool(value)


def _box(value: Any) -> Sequence[float]:
    try:
        return [float(number) for number in value] if isinstance(value, list) and len(value) == 4 else NO_BOX
    except (TypeError, ValueError, OverflowError):
        return NO_BOX


def _add_outline(points: array, parts: list[Any]) -> None:
    """Append the polygon of an outline of parts [x1, y1, x2, y2, …]; nothing where one of them is malformed."""
    parts = [part for part in parts if isinstance(part, list) and len(part) >= MIN_NUMBERS]
    before = len(points)
    try:
        for number, part in enumerate(parts):
            if len(part) % 2:
                raise ValueError
            points.extend(part)
            if number:
                points.extend([*part[:2], *parts[0][:2]])
            elif len(parts) > 1:
                points.extend(part[:2])
    except (TypeError, ValueError, OverflowError):
        del points[before:]


def is_coco_file(path: str | os.PathLike) -> bool:
    return str(path).lower().endswith(".json")
