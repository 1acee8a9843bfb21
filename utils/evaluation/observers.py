"""What an evaluation can leave behind: pictures, curves, confusion matrix, label files, COCO's JSON."""

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from utils.boxes import box_iou
from utils.data.batch import Batch
from utils.detection.coco import coco_rows
from utils.detection.names import image_ids, output_stems
from utils.detection.writers import label_lines, make_folder
from utils.evaluation.coco import CocoTruth
from utils.evaluation.evaluate import ImageResult
from utils.metrics.average_precision import MetricsResult
from utils.metrics.confusion import ConfusionMatrix
from utils.plots.batches import plot_batch, plot_detections
from utils.plots.confusion import plot_confusion_matrix
from utils.plots.curves import plot_confidence_curve, plot_pr_curve
from utils.runs import write_text
from utils.text import counted, csv_cell, distinct_names

log = logging.getLogger(__name__)

BATCHES_DRAWN = 3


class BatchPictures:
    """val_batch{0,1,2}_labels.jpg and …_pred.jpg."""

    def __init__(self, run_dir: Path, names: Mapping[int, str]) -> None:
        self.run_dir, self.names = run_dir, distinct_names(names)

    def batch(self, index: int, batch: Batch, detections: Sequence[Tensor], results: Sequence[ImageResult]) -> None:
        if index < BATCHES_DRAWN:
            stem, what = self.run_dir / f"val_batch{index}", {"paths": batch.paths, "names": self.names}
            plot_batch(batch.images, batch.targets, stem.with_name(f"{stem.name}_labels.jpg"), **what)
            plot_detections(batch.images, detections, stem.with_name(f"{stem.name}_pred.jpg"), **what)

    def finish(self, metrics: MetricsResult) -> None:
        """The pictures are drawn."""


class MetricCharts:
    """The curves of precision, recall and F1, and the confusion matrix, as a picture and as a table."""

    def __init__(self, run_dir: Path, names: Mapping[int, str]) -> None:
        self.run_dir, self.names = run_dir, distinct_names(names)
        self.confusion = ConfusionMatrix(len(names))

    def batch(self, index: int, batch: Batch, detections: Sequence[Tensor], results: Sequence[ImageResult]) -> None:
        for result in results:
            self.confusion.update(result.detections, result.labels, result.ignored)

    def finish(self, metrics: MetricsResult) -> None:
        m, names = metrics, {int(c): self.names[int(c)] for c in metrics.class_ids}
        plot_pr_curve(m.px, m.py, m.ap50, names, self.run_dir / "PR_curve.png")
        for letter, quantity, curve in (
            ("P", "Precision", m.p_curve),
            ("R", "Recall", m.r_curve),
            ("F1", "F1", m.f1_curve),
        ):
            plot_confidence_curve(m.px, curve, quantity, names, self.run_dir / f"{letter}_curve.png")
        everything = [self.names[c] for c in range(len(self.names))]
        plot_confusion_matrix(self.confusion.matrix, everything, self.run_dir / "confusion_matrix.png")
        write_text(self.run_dir / "confusion_matrix.csv", confusion_table(self.confusion.matrix, everything))


def confusion_table(matrix: np.ndarray, names: Sequence[str]) -> str:
    """Return counts ``(nc + 1, nc + 1)`` [predicted, true] as CSV, with the names and their sums.

    The sums of the columns are the numbers of labels, those of the rows the numbers of detections.
    """
    titles = [*map(csv_cell, names), "background"]
    lines = [["predicted \\ true", *titles, "detections"]]
    lines += [[title, *row.tolist(), int(row.sum())] for title, row in zip(titles, matrix, strict=True)]
    lines[-1][-1] = ""  # the background of the rows is no detection
    lines.append(["labels", *matrix.sum(axis=0)[:-1].tolist(), "", ""])
    table = StringIO()
    csv.writer(table, lineterminator="\n").writerows(lines)
    return table.getvalue()


class LabelFiles:
    """A label file for every image in which something was found, written at the end, when all their names are known.

    With ``hybrid_iou`` the labels are in them too, with confidence 1, and no detection that overlaps a label of its
    class by more than that.
    """

    def __init__(self, folder: Path, confidence: bool = False, hybrid_iou: float | None = None) -> None:
        make_folder(folder)
        self.folder, self.confidence, self.hybrid_iou = folder, confidence, hybrid_iou
        self.texts: dict[str, str] = {}

    def batch(self, index: int, batch: Batch, detections: Sequence[Tensor], results: Sequence[ImageResult]) -> None:
        for result in results:
            rows = result.detections if self.hybrid_iou is None else hybrid(result, self.hybrid_iou)
            lines = label_lines(rows, result.shape, confidence=self.confidence)
            self.texts[result.path] = "".join(f"{line}\n" for line in lines)

    def finish(self, metrics: MetricsResult) -> None:
        for path, stem in output_stems(self.texts).items():
            file = self.folder / f"{stem}.txt"
            if text := self.texts[path]:
                write_text(file, text, sync=False)
            else:
                file.unlink(missing_ok=True)  # of an earlier run into the same folder
        log.info("%s in %s", counted(sum(map(bool, self.texts.values())), "label file"), self.folder)


def hybrid(result: ImageResult, iou_thres: float) -> Tensor:
    """Return the labels of an image as detections of confidence 1, and the detections that they do not suppress."""
    labels, found = result.labels, result.detections
    rows = torch.cat((labels[:, 1:], torch.ones(len(labels), 1), labels[:, :1]), dim=1)
    overlap = box_iou(found[:, :4], labels[:, 1:]) * (found[:, 5:6] == labels[:, 0])
    return torch.cat((rows, found[~(overlap > iou_thres).any(dim=1)]))


class CocoJson:
    """All detections in one file of COCO's format.

    ``utils.detection.names.image_ids`` says what the image ids are; category ids are class ids. On COCO, and where the
    images are those of a COCO file, the ids are those of COCO, or of the file.
    """

    def __init__(self, path: Path, truth: CocoTruth | None = None) -> None:
        self.path, self.truth = path, truth
        self.found: dict[str, Tensor] = {}

    def batch(self, index: int, batch: Batch, detections: Sequence[Tensor], results: Sequence[ImageResult]) -> None:
        self.found |= {result.path: result.detections for result in results}

    def finish(self, metrics: MetricsResult) -> None:
        ids = image_ids(self.found)
        if self.truth and self.truth.image_ids is not None:
            ids = {path: self.truth.image_ids[path] for path in self.found}
        category_ids = self.truth.category_ids if self.truth else None
        rows = [row for path in sorted(ids) for row in coco_rows(ids[path], self.found[path].tolist(), category_ids)]
        write_text(self.path, json.dumps(rows))
        log.info("%s in %s", counted(len(rows), "detection"), self.path)


class Results:
    """All detections and labels, image by image."""

    def __init__(self) -> None:
        self.images: list[ImageResult] = []

    def batch(self, index: int, batch: Batch, detections: Sequence[Tensor], results: Sequence[ImageResult]) -> None:
        self.images += results

    def finish(self, metrics: MetricsResult) -> None:
        """Everything is there."""
