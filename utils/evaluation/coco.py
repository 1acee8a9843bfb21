"""Detections in COCO's JSON format, and COCO's own scores."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from utils.data.scan.coco import CocoAnnotations
from utils.data.scan.coco_file import is_coco_file
from utils.data.scan.spec import DataSpec
from utils.detection.names import image_ids
from utils.evaluation.coco_scores import CocoScores, coco_scores, truth_of_labels
from utils.evaluation.evaluate import ImageResult

log = logging.getLogger(__name__)

# the ids that the 80 classes have among the 90 of the annotation file: ten were never used
COCO_IDS = tuple(i for i in range(1, 91) if i not in {12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
ANNOTATIONS = "annotations/instances_val2017.json"


def coco_rows(
    image_id: int | str, detections: Sequence[Sequence[float]], category_ids: Sequence[int] | None = None
) -> list[dict]:
    """Return the entries of an image's detections ``(n, 6)`` [xyxy, confidence, class], in pixels of the file."""
    return [
        {
            "image_id": image_id,
            "category_id": category_ids[int(class_id)] if category_ids else int(class_id),
            "bbox": [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(confidence, 5),
        }
        for x1, y1, x2, y2, confidence, class_id in detections
    ]


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


def coco_images(
    results: Sequence[ImageResult], truth: CocoTruth | None = None
) -> tuple[list[ImageResult], list[int | str]]:
    """Return the results in the order in which COCO's tool takes their images, and the id of each."""
    ids: Mapping[str, int | str] = image_ids([result.path for result in results])
    if truth and truth.image_ids is not None:
        ids = truth.image_ids
    in_order = sorted(results, key=lambda result: (isinstance(ids[result.path], str), ids[result.path]))
    return in_order, [ids[result.path] for result in in_order]


def score(results: Sequence[ImageResult], nc: int, truth: CocoTruth | None = None) -> CocoScores:
    """Return COCO's figures: by the annotations of a file where there is one, else by the labels that were read.

    Only a file tells the area of an object where that is not the area of its box. The detections are those of
    ``coco_rows``, as rounded as in the file of --save-json.
    """
    truth = truth if truth and truth.file.is_file() else None
    results, ids = coco_images(results, truth)
    if truth is None:
        pairs = [(result.labels.numpy(), result.ignored.numpy()) for result in results]
        rows = [row for index, result in enumerate(results) for row in coco_rows(index, result.detections.tolist())]
        return coco_scores(truth_of_labels(pairs, nc), rows, {class_id: class_id for class_id in range(nc)})
    dataset = _complete(json.loads(truth.file.read_text(encoding="utf-8-sig")), set(ids))
    rows = [
        row
        for image_id, result in zip(ids, results, strict=True)
        for row in coco_rows(image_id, result.detections.tolist(), truth.category_ids)
    ]
    return coco_scores(dataset, rows, {key: index for index, key in enumerate(truth.category_ids)})


def _complete(dataset: dict, image_ids: set[int | str]) -> dict[str, list[dict]]:
    """Return what the given images hold, with what pycocotools wants of each row and some tools do not write."""
    boxed = [row for row in dataset["annotations"] if isinstance(row.get("bbox"), list) and len(row["bbox"]) == 4]
    boxed = [row for row in boxed if row["image_id"] in image_ids]
    rows = [{"iscrowd": 0, "area": row["bbox"][2] * row["bbox"][3], **row} for row in boxed]
    return {
        "images": [image for image in dataset["images"] if image["id"] in image_ids],
        "annotations": [row | {"id": number} for number, row in enumerate(rows, start=1)],
        "categories": dataset["categories"],
    }
