"""Detections as entries of COCO's JSON format for results."""

from collections.abc import Sequence

# the ids that the 80 classes have among the 90 of the annotation file: ten were never used
COCO_IDS = tuple(i for i in range(1, 91) if i not in {12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
BOX_DIGITS, CONFIDENCE_DIGITS = 3, 5  # of YOLOv5's files


def coco_rows(
    image_id: int | str, detections: Sequence[Sequence[float]], category_ids: Sequence[int] | None = None
) -> list[dict]:
    """Return the entries of an image's detections ``(n, 6)`` [xyxy, confidence, class], in pixels of the file."""
    return [
        {
            "image_id": image_id,
            "category_id": category_ids[int(class_id)] if category_ids else int(class_id),
            "bbox": [round(value, BOX_DIGITS) for value in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(confidence, CONFIDENCE_DIGITS),
        }
        for x1, y1, x2, y2, confidence, class_id in detections
    ]
