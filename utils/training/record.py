"""What a run leaves for others to read at its end: its record, its report, and what loggers are given."""

import logging
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utils.evaluation.evaluate import Evaluation
from utils.report.folder import read_folder
from utils.report.one import run_page
from utils.report.origin import git_state, versions
from utils.report.record import RunRecord
from utils.runs import ROOT, write_text
from utils.text import one_line
from utils.training.inputs import Inputs
from utils.training.resume import numerics

log = logging.getLogger(__name__)

REPORT = "report.html"
LOGGED = ("opt.yaml", "hyp.yaml", "results.csv", "run.json", REPORT)  # what loggers get, of what is there
FIGURES = ("labels", "precision", "recall", "mAP50", "mAP50-95")  # of a class


def start_record(run_dir: Path, inputs: Inputs, amp_dtype: torch.dtype | None, goes_on: bool) -> RunRecord:
    """Note when, by which command, with which code, machine and data the run begins, or goes on."""
    machine = numerics(inputs.device, amp_dtype, inputs.cfg.compile)
    facts = {
        "command": shlex.join(["python", *sys.argv]),
        "folder": str(Path.cwd()),
        "environment": versions() | {key: str(value) for key, value in machine.items()},
        "git": git_state(ROOT),
    }
    return RunRecord(run_dir, facts, {"file": os.fspath(inputs.spec.file), **inputs.data_facts}, goes_on)


def note_result(record: RunRecord, evaluation: Evaluation, confusion: np.ndarray | None) -> None:
    """Note what best.pt finds: the figures of each class, and the counts (nc + 1, nc + 1) if they were made."""
    m, names = evaluation.metrics, evaluation.names
    columns = (m.labels_per_class, m.p, m.r, m.ap50, m.ap.mean(axis=1))
    classes = [
        {"name": names[int(class_id)], **dict(zip(FIGURES, (int(count), *map(float, figures)), strict=True))}
        for class_id, count, *figures in zip(m.class_ids, *columns, strict=True)
    ]
    counts = confusion.tolist() if confusion is not None else []
    record.result(evaluation.images, list(names.values()), classes, counts)


def close(session: Any, completed: bool, seconds: float) -> None:
    """End the record, write the report, and close the loggers; of process 0, also after an interruption."""
    s = session
    if s.record is None:
        return
    s.record.close(seconds, s.spent.total, "finished" if completed else "interrupted")
    if s.cfg.report:
        write_report(s.run_dir)
    if completed:
        _give_files(s)
    for logger in s.loggers:
        logger.finish(completed)


def write_report(run_dir: Path) -> None:
    """Write report.html; whatever is wrong with it costs a warning, as the weights are what the run was for."""
    try:
        write_text(run_dir / REPORT, run_page(read_folder(run_dir)))
    except Exception as error:  # a fault of ours too
        log.warning("no report was written (python -m utils.report tries again): %s", one_line(error, 300))


def _give_files(session: Any) -> None:
    """Give the loggers pictures and files of the run, and best.pt if it is wanted."""
    s = session
    pictures = sorted([*s.run_dir.glob("*.png"), *s.run_dir.glob("*.jpg")])
    files = [path for name in LOGGED if (path := s.run_dir / name).exists()]
    for logger in s.loggers:
        for picture in pictures:
            logger.image(picture.stem, picture)
        for file in [*files, s.weights_dir / "best.pt"] if s.cfg.log_weights else files:
            logger.file(file)
