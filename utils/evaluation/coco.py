"""Detections in COCO's JSON format, and COCO's own scores."""

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.detection.coco import coco_rows
from utils.evaluation.evaluate import ImageResult

ANNOTATIONS = "annotations/instances_val2017.json"


def is_coco(split: Sequence[Path]) -> bool:
    """True where the images of a split are those of COCO val2017."""
    return any(path.as_posix().endswith("coco/val2017.txt") for path in split)


def coco_table(annotations: Path, rows: Sequence[dict], image_ids: Sequence[int | str]) -> str:
    """Return the twelve lines of scores that pycocotools prints for detections in the given images."""
    from pycocotools.coco import COCO  # needed on COCO only
    from pycocotools.cocoeval import COCOeval

    if not rows:
        return "no detections to score"
    with redirect_stdout(StringIO()):  # pycocotools talks about its progress
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(list(rows)), "bbox")
        evaluation.params.imgIds = list(image_ids)
        evaluation.evaluate()
        evaluation.accumulate()
    with redirect_stdout(StringIO()) as table:
        evaluation.summarize()
    return table.getvalue().rstrip()


class CocoScore(NamedTuple):
    map50: float
    map: float  # mAP@0.5:0.95


def coco_score(results: Sequence[ImageResult]) -> CocoScore:
    """Return the AP by COCO's rule: what lies beyond the recall that is reached counts as zero precision.

    It is the mean over the classes that have labels, of at most 100 detections per image.
    """
    from pycocotools.coco import COCO  # for this figure only
    from pycocotools.cocoeval import COCOeval

    rows = [row for index, result in enumerate(results) for row in coco_rows(index, result.detections.tolist())]
    truth = COCO()
    truth.dataset = _truth(results)
    if not rows or not truth.dataset["annotations"]:
        return CocoScore(0.0, 0.0)
    with redirect_stdout(StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, np.inf]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, -1]  # (IoU levels, recalls, classes); -1 where nothing is labelled
    labelled = precision[:, :, precision[0, 0] > -1]
    return CocoScore(float(labelled[0].mean()), float(labelled.mean()))


def _truth(results: Sequence[ImageResult]) -> dict[str, list[dict]]:
    """Return the labels of all images as a data set of COCO; an image's id is its position."""
    annotations = []
    for index, result in enumerate(results):
        for class_id, x1, y1, x2, y2 in result.labels.tolist():
            width, height = x2 - x1, y2 - y1
            row = {"image_id": index, "category_id": int(class_id), "bbox": [x1, y1, width, height]}
            annotations.append(row | {"id": len(annotations) + 1, "area": width * height, "iscrowd": 0})  # 0 is no id
    found = {int(class_id) for result in results for class_id in result.detections[:, 5].tolist()}
    classes = sorted(found | {row["category_id"] for row in annotations})
    return {
        "images": [{"id": index} for index in range(len(results))],
        "annotations": annotations,
        "categories": [{"id": class_id} for class_id in classes],
    }
