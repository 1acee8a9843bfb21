"""What an evaluation can leave behind: pictures, curves, confusion matrix, label files, COCO's JSON."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from utils.data.batch import Batch
from utils.engine.coco import ANNOTATIONS, COCO_IDS, coco_rows, coco_table, image_id
from utils.engine.evaluate import ImageResult
from utils.engine.names import STEM_BYTES, UniqueNames, safe_name
from utils.engine.writers import label_lines, make_folder
from utils.metrics.average_precision import MetricsResult
from utils.metrics.confusion import ConfusionMatrix
from utils.plots.batches import plot_batch, plot_detections
from utils.plots.confusion import plot_confusion_matrix
from utils.plots.curves import plot_confidence_curve, plot_pr_curve
from utils.runs import write_text

log = logging.getLogger(__name__)

BATCHES_DRAWN = 3


class BatchPictures:
    """val_batch{0,1,2}_labels.jpg and …_pred.jpg."""

    def __init__(self, run_dir: Path, names: Mapping[int, str]) -> None:
        self.run_dir, self.names = run_dir, names

    def batch(self, index: int, batch: Batch, detections: Sequence[Tensor], results: Sequence[ImageResult]) -> None:
        if index < BATCHES_DRAWN:
            stem, what = self.run_dir / f"val_batch{index}", {"paths": batch.paths, "names": self.names}
            plot_batch(batch.images, batch.targets, stem.with_name(f"{stem.name}_labels.jpg"), **what)
            plot_detections(batch.images, detections, stem.with_name(f"{stem.name}_pred.jpg"), **what)

    def finish(self, metrics: MetricsResult) -> None:
        """The pictures are drawn."""


class MetricCharts:
    """The curves of precision, recall and F1, and the confusion matrix."""

    def __init__(self, run_dir: Path, names: Mapping[int, str]) -> None:
        self.run_dir, self.names = run_dir, names
        self.confusion = ConfusionMatrix(len(names))

    def batch(self, index: int, batch: Batch, detections: Sequence[Tensor], results: Sequence[ImageResult]) -> None:
        for result in results:
            self.confusion.update(result.detections, result.labels)

    def finish(self, metrics: MetricsResult) -> None:
        m, names = metrics, [self.names[int(c)] for c in metrics.class_ids]
        plot_pr_curve(m.px, m.py, m.ap50, names, self.run_dir / "PR_curve.png")
        for letter, quantity, curve in (
            ("P", "Precision", m.p_curve),
            ("R", "Recall", m.r_curve),
            ("F1", "F1", m.f1_curve),
        ):
            plot_confidence_curve(m.px, curve, quantity, names, self.run_dir / f"{letter}_curve.png")
        everything = [self.names[c] for c in range(len(self.names))]
        plot_confusion_matrix(self.confusion.matrix, everything, self.run_dir / "confusion_matrix.png")


class LabelFiles:
    """A label file for every image in which something was found."""

    def __init__(self, folder: Path, confidence: bool = False) -> None:
        make_folder(folder)
        self.folder, self.confidence, self.count = folder, confidence, 0
        self._unique = UniqueNames()

    def batch(self, index: int, batch: Batch, detections: Sequence[Tensor], results: Sequence[ImageResult]) -> None:
        for result in results:
            stem = self._unique.claim(safe_name(Path(result.path).stem, STEM_BYTES))
            lines = label_lines(result.detections, result.shape, confidence=self.confidence)
            if lines:
                write_text(self.folder / f"{stem}.txt", "\n".join(lines) + "\n")
                self.count += 1

    def finish(self, metrics: MetricsResult) -> None:
        log.info("%d label files in %s", self.count, self.folder)


class CocoJson:
    """All detections in one file of COCO's format and, on COCO itself, the scores of its own tool."""

    def __init__(self, path: Path, coco: Path | None = None) -> None:
        """``coco`` is the folder of the COCO data set, where the images are its own."""
        self.path, self.coco = path, coco
        self.rows: list[dict] = []
        self.image_ids: list[int | str] = []

    def batch(self, index: int, batch: Batch, detections: Sequence[Tensor], results: Sequence[ImageResult]) -> None:
        for result in results:
            self.image_ids.append(image_id(result.path))
            self.rows += coco_rows(result.path, result.detections.tolist(), COCO_IDS if self.coco else None)

    def finish(self, metrics: MetricsResult) -> None:
        write_text(self.path, json.dumps(self.rows))
        log.info("%d detections in %s", len(self.rows), self.path)
        if self.coco and (self.coco / ANNOTATIONS).is_file():
            log.info(coco_table(self.coco / ANNOTATIONS, self.rows, self.image_ids))
        elif self.coco:
            log.warning("no COCO scores, because %s does not exist", self.coco / ANNOTATIONS)
