"""Detections as annotations of other programs: COCO's JSON of results, labelme's JSON files."""

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from utils.data.sources import Frame
from utils.detection.coco import coco_rows
from utils.detection.found import Detections
from utils.detection.names import OutputNames, image_ids
from utils.errors import OutputError
from utils.pixels import as_picture
from utils.runs import make_writable, write_text
from utils.text import safe_text

LABELME_VERSION = "5.0.0"  # of the file's layout


class JsonWriter:
    """One list of all detections; image ids are those of ``image_ids``, of a frame its name ``clip_12``."""

    def __init__(self, path: Path, outputs: OutputNames) -> None:
        self.path, self.outputs = path, outputs
        self.found: list[tuple[str, str, list[list[float]]]] = []  # path, name of the frame or nothing, boxes

    def write(self, frame: Frame, detections: Detections) -> None:
        name = self.outputs.of(frame) if frame.is_video else ""
        self.found.append((str(frame.path), name, detections.boxes.tolist()))

    def close(self) -> None:
        ids = image_ids({path for path, name, _ in self.found if not name})
        rows = [row for path, name, boxes in self.found for row in coco_rows(name or ids[path], boxes)]
        write_text(self.path, json.dumps(rows))


class LabelmeWriter:
    """A file per image or frame with a rectangle for each detection, for labelme to open and correct."""

    def __init__(self, folder: Path, outputs: OutputNames, names: Mapping[int, str]) -> None:
        make_writable(folder)
        self.folder, self.outputs, self.names = folder, outputs, names

    def write(self, frame: Frame, detections: Detections) -> None:
        height, width = detections.shape
        shapes = [
            {
                "label": safe_text(self.names[int(class_id)]),
                "points": [[round(x1, 2), round(y1, 2)], [round(x2, 2), round(y2, 2)]],
                "group_id": None,
                "description": f"confidence {confidence:.2f}",
                "shape_type": "rectangle",
                "flags": {},
            }
            for x1, y1, x2, y2, confidence, class_id in detections.boxes.tolist()
        ]
        content = {"version": LABELME_VERSION, "flags": {}, "shapes": shapes, **self._image(frame)}
        content |= {"imageHeight": height, "imageWidth": width}
        write_text(self.folder / f"{self.outputs.of(frame)}.json", json.dumps(content, indent=1), sync=False)

    def _image(self, frame: Frame) -> dict[str, Any]:
        """Return where the image is, or where no file has it, the image itself."""
        if not frame.is_video and not frame.is_temporary:
            return {"imagePath": _relative(frame.path, self.folder), "imageData": None}
        data = base64.b64encode(_jpeg(frame.image)).decode()
        return {"imagePath": f"{self.outputs.of(frame)}.jpg", "imageData": data}

    def close(self) -> None:
        """Every file is already complete."""


def _relative(path: Path, folder: Path) -> str:
    """Return a path as labelme looks for it, from the folder of its file; on another drive, the whole path."""
    try:
        return Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()
    except ValueError:
        return path.absolute().as_posix()


def _jpeg(image: np.ndarray) -> bytes:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(as_picture(image), cv2.COLOR_RGB2BGR))
    if not done:
        raise OutputError("a frame cannot be encoded as JPEG", "leave --save-labelme out, or use a smaller video")
    return data.tobytes()
