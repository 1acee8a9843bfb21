"""Detections in COCO's JSON format, and COCO's own scores."""

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

# the ids that the 80 classes have among the 90 of the annotation file: ten were never used
COCO_IDS = tuple(i for i in range(1, 91) if i not in {12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
ANNOTATIONS = "annotations/instances_val2017.json"


def image_id(path: str) -> int | str:
    """Return the number that a file of COCO is named after, or the stem of another file."""
    stem = Path(path).stem
    return int(stem) if stem.isdecimal() else stem


def coco_rows(path: str, detections: Sequence[Sequence[float]], category_ids: Sequence[int] | None) -> list[dict]:
    """Return the entries of an image's detections ``(n, 6)`` [xyxy, confidence, class], in pixels of the file."""
    return [
        {
            "image_id": image_id(path),
            "category_id": category_ids[int(class_id)] if category_ids else int(class_id),
            "bbox": [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(confidence, 5),
        }
        for x1, y1, x2, y2, confidence, class_id in detections
    ]


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
