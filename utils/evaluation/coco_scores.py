"""COCO's own figures of any data set, from pycocotools, or from faster-coco-eval where that is installed.

The same detections have a second mAP here: see ``WHY_TWO``.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from io import StringIO
from typing import Any

import numpy as np

WHY_TWO = (
    "COCO's AP differs from the mAP above because beyond the recall that is reached it counts 0, where YOLOv5 draws a "
    "straight line to recall 1; it is the mean of 101 precisions, where YOLOv5 takes the area under them, of which a "
    "perfect detector has 0.995; a detection whose label is taken may get another; and of each image and class it "
    "counts the best 100 detections, here all that were kept"
)
NONE = float("nan")  # of a figure for which nothing is labelled
ALL, SMALL, MEDIUM, LARGE = range(4)  # areas of COCO: any, below 32², to 96², above, in pixels of the file
MAX_DETS = (1, 10, 100)
LEVELS = {"50": 0, "75": 5}  # of the ten
# figure → (array of COCOeval, IoU level or all, area, index into MAX_DETS), in the order of its summary
FIGURES: Mapping[str, tuple[str, slice | int, int, int]] = {
    "AP": ("precision", slice(None), ALL, 2),
    "AP50": ("precision", LEVELS["50"], ALL, 2),
    "AP75": ("precision", LEVELS["75"], ALL, 2),
    "APs": ("precision", slice(None), SMALL, 2),
    "APm": ("precision", slice(None), MEDIUM, 2),
    "APl": ("precision", slice(None), LARGE, 2),
    "AR1": ("recall", slice(None), ALL, 0),
    "AR10": ("recall", slice(None), ALL, 1),
    "AR100": ("recall", slice(None), ALL, 2),
    "ARs": ("recall", slice(None), SMALL, 2),
    "ARm": ("recall", slice(None), MEDIUM, 2),
    "ARl": ("recall", slice(None), LARGE, 2),
}


@dataclass(frozen=True)
class CocoScores:
    """The twelve figures of COCO, in 0–1, nan where nothing is labelled: of all classes, and of each by its id."""

    all: Mapping[str, float]
    classes: Mapping[int, Mapping[str, float]]
    tool: str  # the package that has counted


def coco_scores(truth: Mapping[str, list[dict]], rows: Sequence[dict], class_of: Mapping[int, int]) -> CocoScores:
    """Return the figures of detections for a data set, both as COCO's files have them.

    ``truth`` holds ``images``, ``annotations`` with ``iscrowd`` and ``area``, and ``categories``; ``rows`` are as
    ``coco_rows`` makes them. ``class_of`` gives the class of each category that counts, and no other is looked at.
    """
    index_of, evaluator, tool = _tool()
    boxes = [row["bbox"] for row in rows]
    found = [
        {**row, "id": number, "area": box[2] * box[3], "iscrowd": 0}
        for number, (row, box) in enumerate(zip(rows, boxes, strict=True), start=1)
    ]
    with redirect_stdout(StringIO()):  # the tools talk about their progress
        evaluation = evaluator(index_of(truth), index_of({**truth, "annotations": found}), "bbox")
        evaluation.params.catIds = sorted(class_of)
        evaluation.evaluate()
        evaluation.accumulate()
    arrays = evaluation.eval
    classes = {class_of[key]: _figures(arrays, slice(k, k + 1)) for k, key in enumerate(sorted(class_of))}
    return CocoScores(_figures(arrays, slice(None)), dict(sorted(classes.items())), tool)


def _tool() -> tuple[Any, Any, str]:
    """Return what indexes a data set, what evaluates, and the name of the package."""
    if find_spec("faster_coco_eval"):
        from faster_coco_eval import COCO, COCOeval_faster  # needed here only, and optional

        quiet = partial(COCOeval_faster, print_function=_say_nothing)
        return partial(COCO, print_function=_say_nothing), quiet, "faster-coco-eval"
    from pycocotools.coco import COCO  # needed here only
    from pycocotools.cocoeval import COCOeval

    def index_of(dataset: Mapping[str, list[dict]]) -> COCO:
        index = COCO()
        index.dataset = dict(dataset)
        index.createIndex()
        return index

    return index_of, COCOeval, "pycocotools"


def _say_nothing(*_: object) -> None:
    """Stand in for what the tools tell of their progress."""


def _figures(arrays: Mapping[str, np.ndarray], classes: slice) -> dict[str, float]:
    """Return the twelve figures of some classes; COCOeval marks with -1 what nothing is labelled for."""
    figures = {}
    for name, (array, levels, area, most) in FIGURES.items():
        values = arrays[array][levels][..., classes, area, most]
        values = values[values > -1]
        figures[name] = float(values.mean()) if values.size else NONE
    return figures


def truth_of_labels(images: Sequence[tuple[np.ndarray, np.ndarray]], nc: int) -> dict[str, list[dict]]:
    """Return labels as a data set of COCO, whose image ids are positions and whose category ids are classes.

    ``images`` are pairs (labels (m, 5), regions (k, 5)) [class, xyxy] in pixels; regions become crowds.
    """
    annotations = list(_annotations(images))
    return {
        "images": [{"id": index} for index in range(len(images))],
        "annotations": [{"id": number, **row} for number, row in enumerate(annotations, start=1)],  # 0 is no id
        "categories": [{"id": class_id} for class_id in range(nc)],
    }


def _annotations(images: Sequence[tuple[np.ndarray, np.ndarray]]) -> Iterator[dict]:
    for index, pair in enumerate(images):
        for is_crowd, rows in enumerate(pair):
            for class_id, x1, y1, x2, y2 in rows.tolist():
                width, height = x2 - x1, y2 - y1
                yield {
                    "image_id": index,
                    "category_id": int(class_id),
                    "bbox": [x1, y1, width, height],
                    "area": round(width * height, 1),  # rounding of float32 makes no object of 32×32 pixels smaller
                    "iscrowd": is_crowd,
                }
