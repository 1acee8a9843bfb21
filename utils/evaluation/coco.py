"""Detections in COCO's JSON format, and COCO's own scores."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from utils.data.scan.coco import CocoAnnotations
from utils.data.scan.coco_file import is_coco_file
from utils.data.scan.spec import DataSpec
from utils.detection.coco import BOX_DIGITS, COCO_IDS, CONFIDENCE_DIGITS
from utils.detection.names import image_ids
from utils.evaluation.evaluate import ImageResult
from utils.metrics.coco_ap import CocoImage, CocoScores, coco_scores
from utils.predictions import BOX

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

    Only a file tells the area of an object where that is not the area of its box. The detections are as rounded as in
    the file of --save-json.
    """
    truth = truth if truth and truth.file.is_file() else None
    results, ids = coco_images(results, truth)
    labels = map(_labels_of, results) if truth is None else _labels_in(truth, ids)
    images = [CocoImage(*_detections_of(result), *each) for result, each in zip(results, labels, strict=True)]
    return coco_scores(images, nc)


def _detections_of(result: ImageResult) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes [x, y, width, height], confidences and classes, rounded as in ``coco_rows``."""
    found = result.detections.double().numpy()
    boxes = np.concatenate((found[:, :2], found[:, 2:4] - found[:, :2]), axis=1)
    return boxes.round(BOX_DIGITS), found[:, 4].round(CONFIDENCE_DIGITS), found[:, 5]


def _labels_of(result: ImageResult) -> tuple[np.ndarray, ...]:
    """Return boxes, classes, areas and which are crowds; that is what regions are.

    Areas are rounded, because what float32 makes of an object of 32×32 pixels is still small and medium.
    """
    rows = torch.cat((result.labels, result.ignored)).double().numpy()
    boxes = np.concatenate((rows[:, 1:3], rows[:, 3:] - rows[:, 1:3]), axis=1)
    return boxes, rows[:, 0], boxes[:, 2:].prod(axis=1).round(1), np.arange(len(rows)) >= len(result.labels)


def _labels_in(truth: CocoTruth, ids: Sequence[int | str]) -> list[tuple[np.ndarray, ...]]:
    """Return the same of each image from a file of annotations; some tools leave out ``area`` and ``iscrowd``."""
    classes = {key: index for index, key in enumerate(truth.category_ids)}
    rows: dict[int | str, list[tuple[float, ...]]] = {image_id: [] for image_id in ids}
    for row in json.loads(truth.file.read_text(encoding="utf-8-sig"))["annotations"]:
        box = row.get("bbox")
        if row["image_id"] in rows and row["category_id"] in classes and isinstance(box, list) and len(box) == BOX:
            facts = classes[row["category_id"]], row.get("area", box[2] * box[3]), row.get("iscrowd", 0)
            rows[row["image_id"]].append((*box, *facts))
    tables = [np.array(rows[image_id], float).reshape(-1, BOX + 3) for image_id in ids]
    return [(table[:, :BOX], table[:, 4], table[:, 5], table[:, 6] > 0) for table in tables]
