"""Detections in COCO's JSON format, and COCO's own scores."""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.data.scan.coco import CocoAnnotations
from utils.data.scan.coco_file import is_coco_file
from utils.data.scan.spec import DataSpec
from utils.detection.coco import COCO_IDS, coco_rows
from utils.evaluation.evaluate import ImageResult

log = logging.getLogger(__name__)

ANNOTATIONS = "annotations/instances_val2017.json"


def is_coco(split: Sequence[Path]) -> bool:
    """True where the images of a split are those of COCO val2017."""
    return any(path.as_posix().endswith("coco/val2017.txt") for path in split)


class CocoTruth(NamedTuple):
    """A file of annotations in COCO's format that detections can be scored with, and its ids."""

    file: Path
    category_ids: Sequence[int]  # of each class
    image_ids: Mapping[str, int | str] | None = None  # by path; None where images are named after their ids


def coco_truth(split: Sequence[Path], data: DataSpec, selected: bool = False) -> CocoTruth | None:
    """Return the annotations of a split that is COCO val2017, or one COCO file with a category for every class.

    ``selected`` tells that the classes of the data are not all those of COCO any more, or in another order.
    """
    if is_coco(split):
        return None if selected else CocoTruth(data.root / ANNOTATIONS, COCO_IDS)
    if len(split) != 1 or not is_coco_file(split[0]):
        return None
    found = CocoAnnotations(split[0], data.names, data.root, data.fence)
    category_ids = {class_id: key for key, class_id in found.classes.items()}
    if len(found.classes) != len(data.names) or len(category_ids) != len(data.names):
        log.info("no COCO scores, because not every class is one category of %s", split[0].name)
        return None
    ids = dict(zip(found.images, found.index.image_ids, strict=True))
    return CocoTruth(split[0], [category_ids[index] for index in sorted(category_ids)], ids)


def coco_table(truth_of: CocoTruth, rows: Sequence[dict], image_ids: Sequence[int | str]) -> str:
    """Return the twelve lines of scores that pycocotools prints for detections in the given images."""
    from pycocotools.coco import COCO  # needed on COCO only
    from pycocotools.cocoeval import COCOeval

    if not rows:
        return "no detections to score"
    with redirect_stdout(StringIO()):  # pycocotools talks about its progress
        truth = COCO()
        truth.dataset = _complete(json.loads(truth_of.file.read_text(encoding="utf-8-sig")))
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(list(rows)), "bbox")
        evaluation.params.imgIds, evaluation.params.catIds = list(image_ids), list(truth_of.category_ids)
        evaluation.evaluate()
        evaluation.accumulate()
    with redirect_stdout(StringIO()) as table:
        evaluation.summarize()
    return table.getvalue().rstrip()


def _complete(dataset: dict) -> dict:
    """Return the annotations with what pycocotools wants of each and some tools do not write."""
    boxed = [row for row in dataset["annotations"] if isinstance(row.get("bbox"), list) and len(row["bbox"]) == 4]
    rows = [{"iscrowd": 0, "area": row["bbox"][2] * row["bbox"][3], **row} for row in boxed]
    return {"info": {}, **dataset, "annotations": [row | {"id": number} for number, row in enumerate(rows, start=1)]}


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
        for is_crowd, rows in enumerate((result.labels, result.ignored)):
            for class_id, x1, y1, x2, y2 in rows.tolist():
                width, height = x2 - x1, y2 - y1
                row = {"image_id": index, "category_id": int(class_id), "bbox": [x1, y1, width, height]}
                row |= {"id": len(annotations) + 1, "area": width * height, "iscrowd": is_crowd}  # 0 is no id
                annotations.append(row)
    found = {int(class_id) for result in results for class_id in result.detections[:, 5].tolist()}
    classes = sorted(found | {row["category_id"] for row in annotations})
    return {
        "images": [{"id": index} for index in range(len(results))],
        "annotations": annotations,
        "categories": [{"id": class_id} for class_id in classes],
    }
