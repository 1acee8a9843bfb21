"""Train with several seeds, to know by how much a result is chance: ``--seeds``."""

import csv
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from utils.checkpoint.load import load_checkpoint
from utils.config import check_config
from utils.configs.train import TrainConfig
from utils.errors import LOWER_RATE, DivergedError, StorageError
from utils.loggers.row import METRICS
from utils.runs import new_run_dir, write_text
from utils.search.folder import MAY_CHANGE, OPTIONS, read_note, write_note
from utils.search.which import SEEDS, folder_of, go_on, note_of
from utils.text import counted
from utils.training.loop import train
from utils.training.resume import LAST, PREVIOUS

log = logging.getLogger(__name__)

TABLE = "seeds.csv"
TITLES = ("P", "R", "mAP50", "mAP50-95")  # of METRICS
WIDTH = 20  # of a column of the file

Rows = dict[int, dict[str, float]]  # seed → METRICS of its best epoch


@dataclass(frozen=True)
class Plan:
    """Trainings that differ in their seed alone, each in a folder of its own inside ``folder``."""

    folder: Path
    seeds: range
    cfg: TrainConfig


def train_seeds(cfg: TrainConfig) -> Path:
    """Train once with each seed, or go on with those of --resume that are not finished; return the folder of all.

    A training that diverges is left out, as is said. Raises: UserError.
    """
    check_config(cfg)
    folder = folder_of(cfg, SEEDS)
    plan = _new(cfg) if folder is None else _resumed(cfg, folder)
    rows, failed = _read(plan.folder / TABLE, plan.seeds), []
    try:
        for seed in plan.seeds:
            if seed in rows:
                log.info("seed %d is finished", seed)
                continue
            log.info("\nseed %d, %d of %d are finished", seed, len(rows), len(plan.seeds))
            try:
                rows[seed] = best_figures(_train(plan, seed))
            except DivergedError as error:
                failed.append(error)
                log.warning("seed %d: %s", seed, error.what)
                continue
            _write(plan.folder / TABLE, rows)
    except (KeyboardInterrupt, SystemExit, StorageError):
        log.warning(
            "\nstopped, %d of %d seeds are finished; to go on: %s", len(rows), len(plan.seeds), go_on(plan.folder)
        )
        raise
    except BaseException:
        _remove_empty(plan.folder)
        raise
    if not rows:
        raise failed[0]
    _log_table(rows, len(failed))
    log.info("results in %s", plan.folder)
    return plan.folder


def _new(cfg: TrainConfig) -> Plan:
    count = cfg.seeds
    cfg = replace(cfg, seeds=None)
    folder = new_run_dir(cfg.project, cfg.name, exist_ok=cfg.exist_ok)
    write_note(folder, SEEDS, cfg, {SEEDS: count})
    return Plan(folder, range(cfg.seed, cfg.seed + count), cfg)


def _resumed(cfg: TrainConfig, folder: Path) -> Plan:
    """Return the trainings of a folder, another number of them where --seeds gives one."""
    before, note = read_note(folder, SEEDS, cfg)
    count = cfg.seeds or note[SEEDS]
    write_note(folder, SEEDS, before, {SEEDS: count})
    return Plan(folder, range(before.seed, before.seed + count), before)


def _train(plan: Plan, seed: int) -> Path:
    """Train with a seed, or go on with its run where that was cut off; return its folder. Raises: DivergedError."""
    name = f"seed{seed}"
    cfg = replace(plan.cfg, seed=seed, project=str(plan.folder), name=name, exist_ok=True)
    if any((plan.folder / name / "weights" / file).is_file() for file in (LAST, PREVIOUS)):
        machine = {option: getattr(plan.cfg, option) for option in MAY_CHANGE}
        cfg = TrainConfig(resume=str(plan.folder / name), **machine, given=frozenset(MAY_CHANGE))
    try:
        return train(cfg)
    except SystemExit as error:  # of one of several processes, which has told why
        if error.code != DivergedError.exit_code:
            raise
        raise DivergedError("it diverged, see above", LOWER_RATE) from None


def best_figures(run_dir: Path) -> dict[str, float]:
    """Return precision, recall and mAPs of the epoch that best.pt is of, as results.csv has them."""
    epoch = load_checkpoint(run_dir / "weights" / "best.pt").epoch
    with (run_dir / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = [{name.strip(): float(cell) for name, cell in row.items()} for row in csv.DictReader(file)]
    (found,) = (row for row in rows if row["epoch"] == epoch)
    return {name: found[name] for name in METRICS}


def statistics(rows: Rows) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation (of a sample, ddof 1; nan for one seed) of each figure."""
    table = np.array([[row[name] for name in METRICS] for row in rows.values()])
    spread = table.std(axis=0, ddof=1) if len(table) > 1 else [math.nan] * len(METRICS)
    return {name: (float(m), float(s)) for name, m, s in zip(METRICS, table.mean(axis=0), spread, strict=True)}


def _write(path: Path, rows: Rows) -> None:
    """Write a row for each seed, then ``mean`` and ``std``."""
    found = statistics(rows)
    lines: list[tuple[object, Mapping[str, float]]] = sorted(rows.items())
    lines += [(word, {name: found[name][at] for name in METRICS}) for at, word in enumerate(("mean", "std"))]
    text = [",".join(f"{cell:>{WIDTH}}" for cell in ("seed", *METRICS))]
    text += [",".join([f"{first:>{WIDTH}}", *(f"{row[name]:{WIDTH}.5g}" for name in METRICS)]) for first, row in lines]
    write_text(path, "\n".join(text) + "\n")


def _read(path: Path, seeds: range) -> Rows:
    """Return the rows of the seeds that are finished."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{name.strip(): cell.strip() for name, cell in row.items()} for row in csv.DictReader(file)]
    found = {int(row["seed"]): {name: float(row[name]) for name in METRICS} for row in rows if row["seed"].isdigit()}
    return {seed: row for seed, row in found.items() if seed in seeds}


def _log_table(rows: Rows, failed: int) -> None:
    lines = [f"{'seed':>6}" + "".join(f"{title:>18}" for title in TITLES)]
    lines += [f"{seed:>6}" + "".join(f"{row[name]:>18.4f}" for name in METRICS) for seed, row in sorted(rows.items())]
    cells = [f"{mean:.4f} ± {spread:.4f}" for mean, spread in statistics(rows).values()]
    lines.append(f"{'mean':>6}" + "".join(f"{cell:>18}" for cell in cells))
    log.info("\n".join(["", *lines]))
    log.info("of the epoch of best.pt; ± is the standard deviation over %s", counted(len(rows), "seed"))
    if failed:
        log.warning("without %s that diverged", counted(failed, "seed"))


def _remove_empty(folder: Path) -> None:
    """Remove a folder in which no training has begun: a failed start leaves nothing behind."""
    own = {OPTIONS, note_of(SEEDS)}
    if {file.name for file in folder.iterdir()} == own:
        for name in own:
            (folder / name).unlink()
        folder.rmdir()
