"""All figures of an evaluation: YOLOv5's and COCO's, of all classes and of each, as text, metrics.csv, metrics.json."""

import csv
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from utils.evaluation.coco import CocoTruth, score
from utils.evaluation.evaluate import Evaluation, ImageResult
from utils.metrics.bootstrap import Interval, JudgedImage, bootstrap_interval
from utils.metrics.coco_ap import WHY_TWO, CocoScores
from utils.metrics.error_kinds import SURE, ErrorShares, ErrorTally, ImageErrors, image_errors
from utils.metrics.matching import in_ignored, iou_levels, match_detections
from utils.runs import write_text
from utils.text import csv_cell, distinct_names, fit_right

log = logging.getLogger(__name__)

SHOWN = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")  # of COCO's twelve, in the log
CLASS_WIDTH = 15
COLUMNS = "%s" + "%7s" * len(SHOWN) + "%8s%7s"  # under 80
TABLE, FIGURES = "metrics.csv", "metrics.json"


@dataclass(frozen=True)
class Summary:
    """An evaluation with what else is known of it; ``interval`` and ``errors`` where they were asked for."""

    evaluation: Evaluation
    coco: CocoScores
    interval: Interval | None = None
    errors: ErrorShares | None = None

    def coco_rows(self, every_class: bool) -> str:
        """Return COCO's figures as columns, with the best F1 of each class and the confidence that it is reached at."""
        m, names = self.evaluation.metrics, distinct_names(self.evaluation.names)
        lines = [COLUMNS % (fit_right("Class", CLASS_WIDTH), *SHOWN, "best F1", "conf")]
        lines.append(_line("all", self.coco.all, (m.f1.mean() if len(m.f1) else math.nan, m.confidence)))
        best = dict(zip(m.class_ids.tolist(), zip(m.best_f1, m.best_confidence, strict=True), strict=True))
        for class_id in best if every_class else ():
            lines.append(_line(names[class_id], self.coco.classes[class_id], best[class_id]))
        return "\n".join(lines)

    def error_lines(self) -> str:
        """Return the kinds of errors: how many, their share, and the mAP50 that mending them would add."""
        if self.errors is None:
            return ""
        shares = self.errors.shares()
        head = f"{f'errors above {SURE:g}':>22}{'number':>10}{'share':>8}{'costs mAP50':>14}"
        rows = [
            f"{kind:>22}{count:>10}{shares[kind]:>8.0%}{self.errors.costs[kind]:>14.3f}"
            for kind, count in self.errors.counts.items()
        ]
        return "\n".join([head, *rows])

    def rows(self) -> list[dict[str, Any]]:
        """Return the figures of all classes together and of each that has labels; nan where there is none."""
        m, names = self.evaluation.metrics, self.evaluation.names
        first = {"class_id": "", "class": "all", "images": self.evaluation.images}
        first |= {"instances": int(m.labels_per_class.sum())}
        first |= dict(zip(("precision", "recall", "mAP50", "mAP50-95"), self.evaluation.figures(), strict=True))
        first |= {"best_f1": float(m.f1.mean()) if len(m.f1) else math.nan, "best_confidence": m.confidence}
        rows = [first | _coco(self.coco.all)]
        columns = (m.class_ids, m.labels_per_class, m.p, m.r, m.ap50, m.ap.mean(axis=1), m.best_f1, m.best_confidence)
        for class_id, instances, *figures in zip(*(column.tolist() for column in columns), strict=True):
            own = dict(zip(list(first)[4:], figures, strict=True))
            row = {"class_id": class_id, "class": names[class_id], "images": self.evaluation.images}
            rows.append(row | {"instances": instances} | own | _coco(self.coco.classes[class_id]))
        return rows

    def table(self) -> str:
        """Return metrics.csv."""
        rows, text = self.rows(), StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            shown = {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
            shown = {key: "" if value == "nan" else value for key, value in shown.items()}
            writer.writerow(shown | {"class": csv_cell(row["class"])})
        return text.getvalue()

    def figures(self, settings: Mapping[str, Any]) -> str:
        """Return metrics.json, with the options that the figures depend on."""
        total, *classes = self.rows()
        facts = {"settings": dict(settings), "speed_ms": asdict(self.evaluation.speed)}
        facts |= {"all": total, "classes": classes, "why_two_maps": WHY_TWO}
        facts |= {"interval": asdict(self.interval) if self.interval else None}
        facts |= {"errors": asdict(self.errors) if self.errors else None}
        return json.dumps(_without_nan(facts), indent=1)


def _coco(figures: Mapping[str, float]) -> dict[str, float]:
    return {f"coco_{name}": value for name, value in figures.items()}


def _line(name: str, figures: Mapping[str, float], best: tuple[float, float]) -> str:
    shown = ["-" if math.isnan(value) else f"{value:.3f}" for value in (*(figures[key] for key in SHOWN), *best)]
    return COLUMNS % (fit_right(name, CLASS_WIDTH), *shown)


def _without_nan(value: Any) -> Any:
    """Return plain data in which null stands for nan, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def summarize(
    evaluation: Evaluation,
    results: Sequence[ImageResult],
    truth: CocoTruth | None = None,
    *,
    resamples: int = 0,
    errors: bool = False,
) -> Summary:
    """Return the figures of an evaluation, whose ``results`` are those of all its images."""
    return Summary(
        evaluation,
        score(results, len(evaluation.names), truth),
        bootstrap_interval([_judge(result) for result in results], resamples) if resamples else None,
        _error_shares(results) if errors else None,
    )


def _judge(result: ImageResult) -> JudgedImage:
    found, levels = result.detections, iou_levels()
    correct = match_detections(found, result.labels, levels)
    ignored = in_ignored(found, correct, result.ignored, levels)
    columns = (correct, found[:, 4], found[:, 5], result.labels[:, 0], ignored)
    return JudgedImage(*(column.numpy() for column in columns))


def _error_shares(results: Sequence[ImageResult]) -> ErrorShares:
    tally = ErrorTally()
    for result in results:
        tally.update(errors_of(result))
    return tally.compute()


def errors_of(result: ImageResult) -> ImageErrors:
    """Return the kinds of an image's detections at IoU 0.5."""
    found, level = result.detections, iou_levels()[:1]
    correct = match_detections(found, result.labels, level)
    ignored = in_ignored(found, correct, result.ignored, level)
    return image_errors(found, result.labels, correct[:, 0], ignored[:, 0])


def report(summary: Summary, run_dir: Path, settings: Mapping[str, Any], every_class: bool) -> None:
    """Log a summary and write it into the folder of the run."""
    log.info("by COCO's own rule:")
    log.info(summary.coco_rows(every_class))
    log.info(WHY_TWO)
    if summary.interval:
        limits = (*summary.interval.map50, *summary.interval.map)
        log.info(
            "95 %% interval over %d resamples of the images: mAP50 %.3f to %.3f, mAP50-95 %.3f to %.3f",
            summary.interval.resamples,
            *limits,
        )
    if summary.errors:
        log.info(summary.error_lines())
    write_text(run_dir / TABLE, summary.table())
    write_text(run_dir / FIGURES, summary.figures(settings))
