"""Search for better hyper-parameters: ``--evolve``."""

import logging
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from sqlalchemy.exc import SQLAlchemyError

from utils.config import check_config, option_values
from utils.configs.train import TrainConfig
from utils.errors import ConfigError, StorageError
from utils.losses import find_loss
from utils.runs import new_run_dir
from utils.search.folder import MAY_CHANGE, read_note, write_note
from utils.search.objective import TrialTraining
from utils.search.outputs import BEST, draw_pictures, write_tables
from utils.search.space import Range, Space, read_space
from utils.search.study import agree, done, enqueue, finished, hidden, open_storage, open_study
from utils.search.trials import search
from utils.search.which import EVOLVE, KINDS, folder_of, go_on, train_with
from utils.text import counted, one_line
from utils.training.autobatch import with_batch_size
from utils.training.inputs import read_inputs

log = logging.getLogger(__name__)

DATABASE, OWN_STUDY = "study.db", "search"  # where no --storage is given
# options that say where and with what to look on; the others are noted in the study, for all who work on it to have
NOT_COMPARED = MAY_CHANGE | {"project", "name", "exist_ok", "val", "save", "save_steps", "save_period", "plots", "hyp"}


@dataclass(frozen=True)
class Plan:
    """A search: how many trials, of which training, from which hyper-parameters on, and where the study is."""

    folder: Path
    count: int
    cfg: TrainConfig  # of a trial, but for hyper-parameters and folder
    hyp: dict[str, Any]
    space: Space
    storage: str
    study: str

    def note(self) -> dict[str, Any]:
        """Return what all processes that work on the study have to agree on."""
        options = {name: value for name, value in option_values(self.cfg).items() if name not in NOT_COMPARED}
        options = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
        return {"space": {name: item.as_list() for name, item in self.space.items()}, "hyp": self.hyp, **options}

    def go_on(self) -> str:
        """Return what is typed to go on: the address of a database too, which the folder does not note."""
        address = "" if self.storage == _own(self.folder) else f" --storage {shlex.quote(hidden(self.storage))}"
        return go_on(self.folder) + address


def evolve(cfg: TrainConfig) -> Path:
    """Train ``cfg.evolve`` times with other hyper-parameters, or go on with the search of --resume; return its folder.

    Raises: UserError.
    """
    check_config(cfg)
    folder = folder_of(cfg, EVOLVE)
    plan = _new(cfg) if folder is None else _resumed(cfg, folder)
    try:
        return _search(plan)
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        what = f"{hidden(plan.storage)}: the database of the search cannot be used ({one_line(error, 200)})"
        raise StorageError(what, f"see to it, then go on: {plan.go_on()}") from error


def _new(cfg: TrainConfig) -> Plan:
    """Return a new search; its folder is made once all is found good."""
    if cfg.study and not cfg.storage:
        raise ConfigError("--study names a search in a database", "add --storage, or leave it out")
    if cfg.storage and not cfg.study:
        raise ConfigError("--storage: a database holds several searches", "say what this one is called, with --study")
    count, file = cfg.evolve, cfg.evolve_space
    project = cfg.project if "project" in cfg.given else KINDS[EVOLVE]
    storage, study = cfg.storage, cfg.study or OWN_STUDY
    cfg = replace(cfg, evolve=None, evolve_space="", storage="", study="", project=project)
    inputs = with_batch_size(read_inputs(cfg, None))  # the same in all trials
    space = read_space(file, find_loss(type(inputs.model.head)), inputs.hyp)
    if storage:
        open_storage(storage)
    folder = new_run_dir(project, cfg.name, exist_ok=cfg.exist_ok)
    plan = Plan(folder, count, inputs.cfg, inputs.hyp, space, storage or _own(folder), study)
    shown = {"storage": hidden(storage), "study": study} if storage else {}
    ranges = {name: item.as_list() for name, item in space.items()}
    write_note(folder, EVOLVE, plan.cfg, {EVOLVE: count, **shown, "space": ranges, "hyp": inputs.hyp})
    return plan


def _resumed(cfg: TrainConfig, folder: Path) -> Plan:
    """Return the search of a folder, with another number of trials where --evolve gives one."""
    if cfg.evolve_space:
        raise ConfigError("--evolve-space: a search keeps its space", "leave it out, or start anew without --resume")
    before, note = read_note(folder, EVOLVE, cfg)
    space = {name: Range(*item) for name, item in note["space"].items()}
    study = note.get("study", OWN_STUDY)
    if "storage" in note and not cfg.storage:
        what = f"{folder}: its study {study!r} is in the database {note['storage']}"
        raise ConfigError(what, "give its address with --storage; it is not noted, for the sake of the password")
    storage = cfg.storage or _own(folder)
    return Plan(folder, cfg.evolve or note[EVOLVE], before, note["hyp"], space, storage, study)


def _own(folder: Path) -> str:
    return f"sqlite:///{folder / DATABASE}"


def _search(plan: Plan) -> Path:
    study = open_study(open_storage(plan.storage), plan.study, seed=plan.cfg.seed, epochs=plan.cfg.epochs)
    if agree(study, plan.note()):
        enqueue(study, {name: item.clip(_start(plan.hyp, name, item)) for name, item in plan.space.items()})
    log.info("search for %s; %d of %d trials are done", ", ".join(plan.space), len(done(study)), plan.count)
    log.info("another process works on it too with: %s", plan.go_on())
    training = TrialTraining(plan.cfg, plan.hyp, plan.space, plan.folder)
    about = _about(plan)
    try:
        search(study, plan.count, training, after=lambda: write_tables(study, plan.folder, about))
    except (KeyboardInterrupt, SystemExit, StorageError):
        log.warning("\nstopped, %d of %d trials are done; to go on: %s", len(done(study)), plan.count, plan.go_on())
        raise
    write_tables(study, plan.folder, about)
    if plan.cfg.plots:
        draw_pictures(study, plan.space, plan.folder)
    _log_result(study, plan)
    return plan.folder


def _start(hyp: Mapping[str, Any], name: str, item: Range) -> float:
    return item.low if hyp[name] is None else hyp[name]


def _about(plan: Plan) -> str:
    cfg = plan.cfg
    model = " ".join(filter(None, (cfg.cfg or cfg.weights, cfg.backbone, cfg.head and f"head {cfg.head}")))
    length = f"{cfg.time:g} h" if cfg.time else counted(cfg.epochs, "epoch")
    return f"data {cfg.data}, model {model or 'the default'}, {length}, image size {cfg.imgsz}, --fitness {cfg.fitness}"


def _log_result(study: optuna.Study, plan: Plan) -> None:
    trials, answered = finished(study), len(done(study))
    failed = len(study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.FAIL,)))
    log.info(
        "\n%s: %d trained to the end, %d given up", counted(answered, "trial"), len(trials), answered - len(trials)
    )
    if failed:
        log.info("%s failed or was cut off besides", counted(failed, "trial"))
    first = next((trial for trial in trials if trial.number == 0), None)
    log.info("the best: fitness %.5g, of trial %d", trials[0].value, trials[0].number)
    if trials[0].value <= 0:
        log.warning("every trial has fitness 0, so none is better than another: train for more epochs")
    if first is not None:
        log.info("with the values that it began with: %.5g", first.value)
    log.info("results in %s", plan.folder)
    log.info("to train with the best: %s", train_with(plan.folder / BEST))
