"""Pascal VOC's XML files as annotations, one for each image.

A box is converted as YOLOv5's script for VOC does: pixels count from 1, so that its centre moves by one. ``difficult``
objects are no labels, but regions in which nothing counts as false; the ``part``\\ s of an object are no objects.
Format: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/index.html
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError, TreeBuilder
from xml.parsers import expat

import numpy as np

from utils.data.image.read import open_regular, why
from utils.data.scan.annotations import Outcome
from utils.data.scan.class_matching import ClassMatcher
from utils.data.scan.label_file import NO_POLYGON, RowProblem
from utils.data.scan.pixel_boxes import pixel_rows
from utils.data.scan.scan_result import Problem
from utils.text import shorten

CORNERS = ("xmin", "ymin", "xmax", "ymax")
FIRST_PIXEL = 1  # the number of the pixel in the corner


@dataclass(frozen=True)
class VocObject:
    """An object as written; ``box`` [xmin, ymin, xmax, ymax] is nan where it has none of four numbers."""

    name: str
    box: tuple[float, ...]
    difficult: bool


@dataclass(frozen=True)
class VocFile:
    """What a file says; ``size`` (height, width) is (0, 0) where it does not."""

    size: tuple[int, int]
    objects: list[VocObject]


class VocError(Exception):
    """Why a file cannot be used."""


class VocAnnotations:
    """The XML files of images."""

    def __init__(self, images: Sequence[str], files: Sequence[str], names: Mapping[int, str]) -> None:
        self.images, self.files, self.facts = images, files, f"VOC {json.dumps(names)}"
        self.matcher = ClassMatcher(names)
        self.problems: list[Problem] = []

    def reader(self) -> "VocAnnotations":
        return self

    def __call__(self, index: int, shape: tuple[int, int]) -> Outcome:
        path = self.files[index]
        try:
            with open_regular(path) as file:
                found = parse_voc(file.read())
        except OSError as error:
            return Outcome(problems=[Problem(path, 0, why(error))])
        except VocError as error:
            return Outcome(problems=[Problem(path, 0, str(error))])
        if found.size not in (shape, (0, 0)):
            what = f"says {found.size[1]}×{found.size[0]} pixels, but its image has {shape[1]}×{shape[0]}"
            return Outcome(problems=[Problem(path, 0, f"{what}: its boxes would be wrong")])
        return self._outcome(path, found.objects, shape)

    def _outcome(self, path: str, objects: list[VocObject], shape: tuple[int, int]) -> Outcome:
        outcome = Outcome(shape, has_file=True)
        corners = np.array([each.box for each in objects], np.float64).reshape(-1, 4)
        low, high = corners[:, :2], corners[:, 2:]
        boxes = np.concatenate([(low + high) / 2 - FIRST_PIXEL, high - low], 1)
        found = pixel_rows(boxes, np.tile(shape, (len(objects), 1)))
        rows = outcome.rows
        rows.clipped, rows.rounded = int(found.clipped.sum()), int(found.rounded.sum())
        kept, ignored = {}, {}
        for number, (each, row) in enumerate(zip(objects, found.rows.tolist(), strict=True)):
            class_id = self.matcher.find(each.name)
            if class_id is None:
                outcome.left_out.append(each.name)
            elif reason := found.bad.get(number):
                what = f"object {number + 1} ({shorten(each.name)}): {reason}"
                outcome.problems.append(Problem(path, 0, what))
                rows.bad_rows.append(RowProblem(0, what))
            else:
                key, where = (class_id, *row), ignored if each.difficult else kept
                rows.duplicates += key in where
                where[key] = None
        rows.boxes, rows.ignored = list(kept), list(ignored)
        rows.polygons = [NO_POLYGON] * len(kept)
        return outcome


def parse_voc(data: bytes) -> VocFile:
    """Return what an XML file says. Raises: VocError; also for entities, which can be bombs and other files."""
    root = _tree(data)
    if root.tag != "annotation":
        raise VocError(f"its root is <{shorten(root.tag)}>, not the <annotation> of Pascal VOC")
    objects = [_object(element) for element in root.findall("object")]
    return VocFile(_size(root.find("size")), objects)


def _tree(data: bytes) -> Element:
    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = _refuse_entity
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
        return builder.close()
    except (expat.ExpatError, ParseError, AssertionError, ValueError, LookupError) as error:
        raise VocError(f"not XML ({error})") from error


def _refuse_entity(name: str, *_: object) -> None:
    raise VocError(f"declares the entity {shorten(name)}, which annotations have no use for")


def _object(element: Element) -> VocObject:
    box = element.find("bndbox")
    values = [] if box is None else [_number(box.findtext(corner)) for corner in CORNERS]
    return VocObject(
        (element.findtext("name") or "").strip(),
        tuple(values) if len(values) == len(CORNERS) else (np.nan,) * len(CORNERS),
        _number(element.findtext("difficult")) > 0,
    )


def _size(element: Element | None) -> tuple[int, int]:
    sides = [0.0 if element is None else _number(element.findtext(side)) for side in ("height", "width")]
    return (int(sides[0]), int(sides[1])) if all(0 < side < 2**31 for side in sides) else (0, 0)


def _number(text: str | None) -> float:
    """Return the number that a text is, nan for any other."""
    try:
        return float(text or "nan")
    except ValueError:
        return np.nan
