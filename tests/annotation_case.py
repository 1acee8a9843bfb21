"""One small data set as YOLO label files, as a COCO file and as Pascal VOC's files."""

import json
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from utils.plots.image_file import write_image
from utils.yaml_file import write_yaml

NAMES = {0: "cat", 1: "traffic light", 2: "dog"}
SHAPES = {"a": (48, 64), "b": (64, 40), "c": (50, 50), "d": (33, 97)}  # height, width; c has no objects
OBJECTS = {  # name of the image → class, x, y, width, height in pixels
    "a": [(0, 3.25, 4.5, 20.1, 11.7), (2, 30.0, 10.0, 33.0, 30.3)],
    "b": [(1, 1.0, 2.0, 17.3, 40.9)],
    "c": [],
    "d": [(2, 10.7, 3.3, 55.5, 20.2), (0, 50.1, 1.0, 20.0, 30.0), (1, 7.7, 7.7, 7.7, 7.7)],
}
POLYGONS = {  # with --polygons, objects by image and number → parts
    ("a", 0): [[3.25, 4.5, 23.35, 6.0, 20.0, 16.2, 5.5, 15.1, 4.0, 9.9]],
    ("d", 1): [[50.1, 1.0, 60.2, 1.5, 55.3, 12.0], [60.0, 20.0, 70.1, 21.0, 66.6, 31.0, 58.0, 30.5]],
}


def draw(folder: Path) -> None:
    if folder.is_dir():
        return
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, shape in SHAPES.items():
        write_image(folder / f"{name}.png", rng.integers(0, 255, (*shape, 3), np.uint8))


def coco_content(polygons: bool = False) -> dict:
    """Return the data set for a COCO file; ids have gaps, lists are not in order."""
    ids = {name: 7 * number + 3 for number, name in enumerate(reversed(SHAPES))}
    images = [
        {"id": ids[name], "file_name": f"{name}.png", "height": shape[0], "width": shape[1]}
        for name, shape in SHAPES.items()
    ]
    annotations = []
    for name, objects in OBJECTS.items():
        for number, (class_id, *box) in enumerate(objects):
            parts = POLYGONS.get((name, number)) if polygons else None
            row = {"id": len(annotations) * 5 + 2, "image_id": ids[name], "category_id": (4, 9, 2)[class_id]}
            annotations.append(row | {"bbox": box, "iscrowd": 0} | ({"segmentation": parts} if parts else {}))
    categories = [{"id": 9, "name": "traffic light"}, {"id": 4, "name": "cat"}, {"id": 2, "name": "dog"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco(root: Path, content: dict | None = None, polygons: bool = False) -> Path:
    """Write images, ``annotations/instances_all.json`` and the YAML, and return the YAML."""
    draw(root / "all")
    (root / "annotations").mkdir(exist_ok=True)
    file = root / "annotations/instances_all.json"
    text = json.dumps(content or coco_content(polygons))
    if not file.is_file() or file.read_text() != text:  # else the scan in the cache holds
        file.write_text(text)
    return _yaml(root, "annotations/instances_all.json")


def write_yolo(root: Path, polygons: bool = False, voc: bool = False) -> Path:
    """Write images, label files and the YAML; values are those of the conversion, to the last digit."""
    draw(root / "images")
    (root / "labels").mkdir()
    for name, objects in OBJECTS.items():
        lines = []
        for number, (class_id, *box) in enumerate(objects):
            size, parts = SHAPES[name][::-1], POLYGONS.get((name, number)) if polygons else None
            values = joined(parts, size) if parts else yolo_box(*box, *size, shift=1 if voc else 0)
            lines.append(" ".join(map(repr, (class_id, *values))) + "\n")
        (root / f"labels/{name}.txt").write_text("".join(lines))
    return _yaml(root, "images")


def yolo_box(x: float, y: float, w: float, h: float, width: int, height: int, shift: int = 0) -> tuple[float, ...]:
    if shift:  # by Pascal VOC's corners, as section 5.1 of the description of YOLOv5 has it
        x2, y2 = voc_corner(x, w), voc_corner(y, h)
        return ((x + x2) / 2 - 1) / width, ((y + y2) / 2 - 1) / height, (x2 - x) / width, (y2 - y) / height
    return (x + w / 2) / width, (y + h / 2) / height, w / width, h / height


def voc_corner(low: float, side: float) -> float:
    return low + side


def joined(parts: list[list[float]], size: tuple[int, int]) -> list[float]:
    """Return the parts as one polygon: from each further part back to the start of the first."""
    first, *others = parts
    values = first + (first[:2] if others else [])
    for part in others:
        values = values + part + part[:2] + first[:2]
    return [value / size[number % 2] for number, value in enumerate(values)]


def write_voc(root: Path) -> Path:
    """Write ``JPEGImages``, ``Annotations``, ``ImageSets/Main/all.txt`` and the YAML, and return the YAML."""
    draw(root / "JPEGImages")
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for name, objects in OBJECTS.items():
        (root / f"Annotations/{name}.xml").write_text(voc_xml(name, objects))
    (root / "ImageSets/Main/all.txt").write_text("\n".join(SHAPES) + "\n")
    return _yaml(root, "ImageSets/Main/all.txt")


def voc_xml(name: str, objects: list[tuple], extra: str = "", size: tuple[int, int] | None = None) -> str:
    height, width = SHAPES[name] if size is None else size
    rows = "".join(
        f"<object><name>{escape(NAMES.get(c, str(c)))}</name><difficult>0</difficult>{_bndbox(x, y, w, h)}</object>\n"
        for c, x, y, w, h in objects
    )
    size_text = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}.png</filename>{size_text}\n{rows}{extra}</annotation>\n"


def _bndbox(x: float, y: float, w: float, h: float) -> str:
    corners = {"xmin": x, "ymin": y, "xmax": voc_corner(x, w), "ymax": voc_corner(y, h)}
    return "<bndbox>" + "".join(f"<{key}>{value!r}</{key}>" for key, value in corners.items()) + "</bndbox>"


def _yaml(root: Path, split: str) -> Path:
    write_yaml(root / "data.yaml", {"train": split, "val": split, "names": list(NAMES.values())})
    return root / "data.yaml"
