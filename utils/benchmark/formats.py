"""Measure one weights file in every format, each in a process of its own, and keep the results."""

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from utils.benchmark.board import Board, open_board
from utils.benchmark.formats_table import formats_table
from utils.benchmark.latency import LEAST_S, LONGEST_S, RUNS, STEADY
from utils.benchmark.machine import machine_facts
from utils.benchmark.measure_format import FILES, FormatsJob
from utils.benchmark.mode import PYTORCH, is_int8, packages_of
from utils.benchmark.run import CODE, digest, fingerprint, source_of
from utils.benchmark.subprocess_run import IsolatedError, isolated
from utils.configs.benchmark import BenchmarkConfig
from utils.configs.val import ValConfig
from utils.data.scan.scan import scan_split
from utils.data.scan.spec import load_data_spec
from utils.device import select_device
from utils.errors import ConfigError, ExportError
from utils.evaluation.inputs import scan_to_measure
from utils.evaluation.setup import open_model
from utils.imgsz import fit_imgsz
from utils.runs import ROOT, newest_weights
from utils.text import counted

log = logging.getLogger(__name__)

MeasureFile = Callable[[FormatsJob, str, Path], Iterator[dict[str, Any]]]


def run_formats(cfg: BenchmarkConfig, wanted: Mapping[str, str], measure: MeasureFile) -> Board:
    """Measure the ``wanted`` formats, see ``mode.wanted_formats``, that have no finished row yet; return the table.

    ``measure(job, name, folder)`` yields figures by the names of ``formats_table.Row``, in a process of its own.
    Raises: UserError where weights, data and options do not fit.
    """
    job = open_job(cfg)
    calibration = []
    if cfg.int8:
        data = load_data_spec(job.data, required=("train",))
        calibration = [f"training images {fingerprint(scan_split(data, data.train))}"]
    board = open_board(formats_table(job.batch_size), cfg.project, cfg.name, settings_of(job), notes_of(job, wanted))
    for number, (name, refusal) in enumerate(wanted.items(), 1):
        source = ", ".join(_versions(name) + (calibration if is_int8(name) else []))
        if not board.has(name, source=source):
            work = partial(_refused, refusal) if refusal else partial(isolated, measure, job, name, board.folder)
            board.measure(f"[{number}/{len(wanted)}]", {"format": name}, source, work)
    return board


def judge(board: Board, wanted: Mapping[str, str], hard_fail: float | None) -> None:
    """Raises: ExportError where all formats have failed, and with ``hard_fail`` where one has, or has a lower mAP."""
    rows = [board.rows[name,] for name in wanted]
    failed = [row.format for row in rows if not row.finished]
    others = [row for row in rows if row.format != PYTORCH] or rows
    fix = f"the remarks in {board.folder / 'formats.md'} say why"
    if not any(row.finished for row in others):
        raise ExportError("no format could be measured", fix)
    if hard_fail is None:
        return
    if failed:
        raise ExportError(f"{counted(len(failed), 'format')} failed: {', '.join(failed)}", fix)
    if low := [f"{row.format} {row.map:.4f}" for row in rows if row.map < hard_fail]:
        fix = "use another format for these weights, or give a lower --hard-fail"
        raise ExportError(f"--hard-fail {hard_fail:g}: mAP50-95 of {', '.join(low)}", fix)


def open_job(cfg: BenchmarkConfig) -> FormatsJob:
    """Return the weights file with every default filled in, once it was opened with the data and these were scanned.

    Raises: UserError, as where no image to validate with has a label.
    """
    weights = Path(cfg.weights or newest_weights())
    own = {"data": cfg.data} if "data" in cfg.given else {}
    size = {"imgsz": cfg.imgsz} if "imgsz" in cfg.given else {}
    same = {name: getattr(cfg, name) for name in ("backbone", "device", "single_cls")}
    val = ValConfig(weights=str(weights), task="speed", **same, **own, **size)
    setup = open_model(val, str(weights))
    if not hasattr(setup.backend, "model"):
        raise ConfigError(f"{weights}: is an exported file", "give the checkpoint that it was made from, a .pt")
    fixed = setup.backend.fixed_size
    if fixed and fixed[0] != fixed[1]:
        raise ConfigError(
            f"{weights}: takes images of {fixed[0]}×{fixed[1]} only, and this measures squares", "use val.py"
        )
    scan = scan_to_measure(setup.cfg, setup.data, setup.selection)
    return FormatsJob(
        weights=str(weights.absolute()),
        backbone=cfg.backbone,
        data=str(setup.data.file),
        classes=setup.backend.trained.classes if setup.selection else (),
        imgsz=fixed[0] if fixed else fit_imgsz(setup.cfg.imgsz, setup.backend.stride),
        batch_size=cfg.batch_size,
        single_cls=cfg.single_cls,
        half=cfg.half,
        device=cfg.device,
        workers=cfg.workers,
        truth=fingerprint(scan),
    )


def settings_of(job: FormatsJob) -> dict[str, Any]:
    """Return all that a row depends on except its format: weights, options, code, machine."""
    code = [*(path for pattern in (*CODE, "*.py") for path in ROOT.glob(pattern)), Path(job.data)]
    content = {"content": digest([Path(job.weights)]), "code": digest(code), "user_file": source_of(job.backbone)}
    return {"benchmark": "formats", **vars(job), **content, **machine_facts(select_device(job.device))}


def notes_of(job: FormatsJob, wanted: Mapping[str, str]) -> list[str]:
    """Return lines that say what the figures mean and on which machine they were measured."""
    facts = [f"{name}: {fact}" for name, fact in machine_facts(select_device(job.device)).items()]
    precision, threads = "with weights in float16" if job.half else "in float32", torch.get_num_threads()
    batch = job.batch_size
    if any(map(is_int8, wanted)):
        precision += ", int8 in 8-bit integers whatever that costs in mAP"
    return [
        "; ".join(dict.fromkeys([*facts, *chain(*map(_versions, wanted))])),
        f"{Path(job.weights).name} {precision}; {FILES}/ keeps the files for one image; the size of pytorch is "
        "that of the checkpoint, in its training form",
        f"mAP: validation images of {Path(job.data).name}, on squares of {job.imgsz} as files of one size take them; "
        "val.py gives PyTorch rectangles, so its third digit can be another",
        f"Latency: one image as a tensor to predictions, without NMS, {RUNS} passes and {LEAST_S:.0f} s or more, "
        f"until the p50 of both halves is within {STEADY:.0%} or {LONGEST_S:.0f} s are over; one format after another, "
        f"each in a process of its own, all with {counted(threads, 'thread')}",
        f"images/s: batches of {batch} by their p50{'' if batch == 1 else f', files for {batch}'}; difference: "
        "the largest from PyTorch in float32, on the images of export.py",
    ]


def _versions(name: str) -> list[str]:
    """Return the packages that a row needs with their versions, as far as they are installed."""
    found = []
    for package in () if name == PYTORCH else packages_of(name):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found


def _refused(why: str) -> Iterator[dict[str, Any]]:
    raise IsolatedError(why)
    yield
