"""What a model of the Python API found in one or several images, in the forms that programs for YOLOv5's hub read."""

import copy
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from utils.boxes import xyxy_to_cxcywh
from utils.detection.names import UniqueNames, class_folders, safe_name
from utils.detection.predict import Detections
from utils.detection.writers import box_text, crop, make_folder
from utils.plots.annotate import color_of, draw_boxes
from utils.plots.image_file import write_image
from utils.runs import new_run_dir
from utils.stopwatch import Speed

CORNERS = ("xmin", "ymin", "xmax", "ymax")
CENTRES = ("xcenter", "ycenter", "width", "height")
SAVE_DIR = "runs/detect/exp"


class Results:
    """Detections of ``n`` images, in the order in which these were given.

    ims      (H, W, 3) uint8 RGB arrays
    pred     tensors (n_i, 6) [xyxy in pixels, confidence, class], best first; ``xyxy`` is the same
    xywh     [centre x, centre y, width, height, confidence, class]; xyxyn and xywhn: boxes in 0–1
    names    class names by id; files: a file name for each image
    t        milliseconds per image of pre-processing, inference and suppression; s: shape of the batch (B, C, H, W)
    """

    def __init__(
        self,
        ims: Sequence[np.ndarray],
        pred: Sequence[Tensor],
        files: Sequence[str],
        names: Mapping[int, str],
        speed: Speed,
        shape: Sequence[int],
    ) -> None:
        self.ims, self.pred, self.files, self.names = list(ims), list(pred), list(files), dict(names)
        self.n, self.s = len(self.pred), tuple(shape)
        self.times = self.t = (speed.preprocess, speed.inference, speed.nms)
        sizes = [found.new_tensor([*image.shape[1::-1], *image.shape[1::-1], 1, 1]) for image, found in self._pairs()]
        self.xyxy = self.pred
        self.xywh = [torch.cat((xyxy_to_cxcywh(found[:, :4]), found[:, 4:]), dim=1) for found in self.pred]
        self.xyxyn = [found / size for found, size in zip(self.xyxy, sizes, strict=True)]
        self.xywhn = [found / size for found, size in zip(self.xywh, sizes, strict=True)]

    def _pairs(self) -> list[tuple[np.ndarray, Tensor]]:
        return list(zip(self.ims, self.pred, strict=True))

    def __len__(self) -> int:
        return self.n

    def __str__(self) -> str:
        lines = []
        for index, (image, found) in enumerate(self._pairs(), start=1):
            summary = Detections(found.float().cpu(), image.shape[:2], Speed(*self.t)).summary(self.names)
            lines.append(f"image {index}/{self.n}: {image.shape[0]}x{image.shape[1]} {summary}")
        pre, inference, nms = self.t
        shape = "(" + ", ".join(map(str, self.s)) + ")"
        speed = (
            f"Speed: {pre:.1f}ms pre-process, {inference:.1f}ms inference, {nms:.1f}ms NMS per image at shape {shape}"
        )
        return "\n".join([*lines, speed])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.n} images>\n{self}"

    def print(self) -> None:
        """Print what was found in each image, and the speed."""
        sys.stdout.write(f"{self}\n")

    def tolist(self) -> list["Results"]:
        """Return the results of each image alone."""
        return [
            Results([image], [found], [file], self.names, Speed(*self.t), self.s)
            for (image, found), file in zip(self._pairs(), self.files, strict=True)
        ]

    def render(self, labels: bool = True) -> list[np.ndarray]:
        """Return the images with their boxes drawn; they replace ``ims``, as YOLOv5's do."""
        self.ims = [_drawn(image, found, self.names, labels) for image, found in self._pairs()]
        return self.ims

    def show(self, labels: bool = True) -> None:
        """Open each drawn image in the system's viewer."""
        for image, found in self._pairs():
            Image.fromarray(_drawn(image, found, self.names, labels)).show()

    def save(self, labels: bool = True, save_dir: str | Path = SAVE_DIR, exist_ok: bool = False) -> Path:
        """Write each drawn image into ``save_dir``, or its next free number; return that folder."""
        folder = _folder(save_dir, exist_ok)
        unique = UniqueNames()
        for (image, found), file in zip(self._pairs(), self.files, strict=True):
            name = unique.claim(safe_name(Path(file).stem))
            write_image(folder / f"{name}.jpg", _drawn(image, found, self.names, labels))
        return folder

    def crop(self, save: bool = True, save_dir: str | Path = SAVE_DIR, exist_ok: bool = False) -> list[dict[str, Any]]:
        """Return what is inside each box: dicts of box, conf, cls, label, im; ``save`` writes them, by class, too."""
        folder = _folder(save_dir, exist_ok) / "crops" if save else None
        folders, unique = class_folders(self.names), defaultdict(UniqueNames)
        crops = []
        for (image, found), file in zip(self._pairs(), self.files, strict=True):
            for *box, confidence, class_id in found:
                inside = crop(image, [float(side) for side in box])
                label = box_text(float(confidence), int(class_id), self.names, False, False)
                crops.append({"box": box, "conf": confidence, "cls": class_id, "label": label, "im": inside})
                if folder is not None:
                    place = folder / folders[int(class_id)]
                    make_folder(place)
                    stem = unique[place.name].claim(safe_name(Path(file).stem))
                    write_image(place / f"{stem}.jpg", inside, full_chroma=True)
        return crops

    def pandas(self) -> "Results":
        """Return a copy whose xyxy, xyxyn, xywh and xywhn are tables with the columns ``class`` and ``name`` too."""
        import pandas  # a second to import, which only this method needs

        tables = copy.copy(self)
        for attribute in ("xyxy", "xyxyn", "xywh", "xywhn"):
            columns = (*(CORNERS if "xyxy" in attribute else CENTRES), "confidence", "class", "name")
            rows = [
                [[*box, confidence, int(class_id), self.names[int(class_id)]] for *box, confidence, class_id in found]
                for found in map(Tensor.tolist, getattr(self, attribute))
            ]
            setattr(tables, attribute, [pandas.DataFrame(table, columns=columns) for table in rows])
        return tables


def _drawn(image: np.ndarray, found: Tensor, names: Mapping[int, str], labels: bool) -> np.ndarray:
    boxes = found.detach().float().cpu().flip(0)  # the best on top
    texts = [box_text(confidence, int(c), names, not labels, False) for confidence, c in boxes[:, 4:6].tolist()]
    return draw_boxes(image, boxes[:, :4].numpy(), texts, [color_of(c) for c in boxes[:, 5].tolist()])


def _folder(save_dir: str | Path, exist_ok: bool) -> Path:
    path = Path(save_dir)
    return new_run_dir(path.parent, path.name, exist_ok=exist_ok)
