"""What a trial is: a training with its hyper-parameters, of which little stays."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import Trial

from utils.configs.train import TrainConfig
from utils.device import clear_memory, select_device
from utils.errors import DivergedError, lacking_memory
from utils.loggers.row import METRICS
from utils.quiet import quiet
from utils.runs import make_writable
from utils.search.space import Space, draw
from utils.search.study import done
from utils.search.trials import TrialError
from utils.text import one_line
from utils.training.loop import train
from utils.yaml_file import write_yaml

log = logging.getLogger(__name__)

TRIALS = "trials"  # the folder of their runs
HYP, FIGURES = "hyp", "figures"  # user attributes: all hyper-parameters; P, R, mAPs and losses of the best epoch
SHOWN_ERROR = 300  # characters


@dataclass(frozen=True)
class TrialTraining:
    """Trains with the values of a trial in place of those of ``hyp``; the fitness of its best epoch is its answer."""

    cfg: TrainConfig
    hyp: Mapping[str, Any]
    space: Space
    folder: Path  # of the search

    def __call__(self, trial: Trial) -> float:
        """Raises: TrialError where it diverges or has too little memory; optuna.TrialPruned."""
        values = draw(trial, self.space)
        hyp = {**self.hyp, **values}
        trial.set_user_attr(HYP, hyp)
        shown = ", ".join(f"{name} {value:g}" for name, value in values.items())
        log.info("\ntrial %d, %d done: %s", trial.number, len(done(trial.study)), shown)
        run_dir = self.folder / TRIALS / f"{trial.number:03d}"
        run_dir.parent.mkdir(exist_ok=True)
        make_writable(run_dir)
        write_yaml(run_dir / "hyp.yaml", hyp)
        clear_memory(select_device(self.cfg.device))
        try:
            return self._train(trial, run_dir)
        finally:
            shutil.rmtree(run_dir / "weights", ignore_errors=True)

    def _train(self, trial: Trial, run_dir: Path) -> float:
        place = {"project": str(run_dir.parent), "name": run_dir.name, "exist_ok": True}
        cfg = replace(self.cfg, **place, hyp=str(run_dir / "hyp.yaml"), recipe=False, label_smoothing=None)
        cfg = replace(cfg, plots=False, report=False, save=False, save_steps=0, save_period=-1)
        best = -1.0

        def watch(epoch: int, fitness: float | None, row: Mapping[str, float]) -> None:
            nonlocal best
            if fitness is None:
                return
            if fitness > best:
                best = fitness
                figures = {name: row[name] for name in row if name in METRICS or name.startswith("val/")}
                trial.set_user_attr(FIGURES, figures)
            trial.report(fitness, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            with quiet(logging.WARNING):  # all trainings would say the same
                train(cfg, watch)
        except DivergedError as error:
            raise TrialError(one_line(error.what, SHOWN_ERROR)) from None
        except optuna.exceptions.UpdateFinishedTrialError:
            raise TrialError("its process was silent for so long that others have given it up") from None
        except (MemoryError, RuntimeError) as error:
            if not (lacking_memory(error) or isinstance(error, MemoryError)):
                raise
            raise TrialError(f"too little memory ({one_line(error, SHOWN_ERROR)})") from None
        return best
