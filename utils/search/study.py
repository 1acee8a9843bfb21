"""The study of a search: where its trials are kept, how the next one is chosen, when one is given up.

Several processes may work on one study. Optuna: A Next-generation Hyperparameter Optimization Framework,
https://arxiv.org/abs/1907.10902; what is tried next comes from a tree-structured Parzen estimator, NeurIPS 2011.
"""

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from utils.errors import ConfigError
from utils.text import one_line

log = logging.getLogger(__name__)

NOTE = "search"  # user attribute of a study: what is compared in it
REPEATS = "repeats"  # of a trial: the number of the one that was cut off, which it does again
RETRIES = "retries"  # of a trial: how often that was done
VALUES = "values"  # of a trial that was put into the queue
MAX_RETRIES = 2  # a training for which the system ends its process would end that for ever
HEARTBEAT_S, SILENCE_S = 10, 60  # a process that has shown no sign of life for so long is gone
WAIT_S = 60  # for another process that writes into the same SQLite file
STARTUP = 10  # trials at random, before the estimator knows enough


def open_storage(url: str) -> RDBStorage:
    """Return a database of studies, its tables made where it has none.

    Raises: ConfigError where it cannot be opened.
    """
    shown = url
    try:
        shown = hidden(url)
        waits = {"connect_args": {"timeout": WAIT_S}} if make_url(url).get_backend_name() == "sqlite" else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return RDBStorage(
                url,
                engine_kwargs=waits,
                heartbeat_interval=HEARTBEAT_S,
                grace_period=SILENCE_S,
                heartbeat_stale_trial_callback=repeat,
            )
    except (SQLAlchemyError, ImportError, RuntimeError, ValueError, optuna.exceptions.OptunaError) as error:
        fix = "check address, user and password, and that its driver for Python is installed"
        raise ConfigError(f"{shown}: this database cannot be opened ({one_line(error, 200)})", fix) from error


def open_study(storage: RDBStorage, name: str, *, seed: int, epochs: int) -> Study:
    """Return a study of a database, a new one where there is none of this name.

    Trials of ``epochs`` epochs are given up from a third of them on, where they are below the median of others.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=NumberedSampler(seed),
        pruner=optuna.pruners.MedianPruner(n_warmup_steps=max(1, epochs // 3)),
        direction="maximize",
        load_if_exists=True,
    )


def hidden(url: str) -> str:
    """Return the address of a database without its password."""
    return make_url(url).render_as_string(hide_password=True)


def agree(study: Study, note: Mapping[str, Any]) -> bool:
    """Note in the study what is compared in it, and return whether it is new.

    Raises: ConfigError where others have noted something else.
    """
    before = study.user_attrs.get(NOTE)
    if before is None:
        study.set_user_attr(NOTE, dict(note))
        return True
    differ = [key for key in note if note[key] != before.get(key)]
    if differ:
        what = f"the study {study.study_name!r} compares other trainings: {', '.join(differ)} differ"
        raise ConfigError(what, "give the same options, or choose another --study or --name")
    return False


def repeat(study: Study, trial: FrozenTrial) -> None:
    """Put the values of a trial that was cut off into the queue; not for ever, as it may be why its process ended."""
    retries = trial.user_attrs.get(RETRIES, 0)
    if not trial.params or any(other.user_attrs.get(REPEATS) == trial.number for other in study.get_trials(False)):
        return
    if retries == MAX_RETRIES:
        log.warning("trial %d was cut off, like those that it repeated: it is left out", trial.number)
        return
    log.info("trial %d was cut off: its values will be tried again", trial.number)
    enqueue(study, trial.params, {REPEATS: trial.number, RETRIES: retries + 1})


def enqueue(study: Study, values: Mapping[str, float], facts: Mapping[str, Any] | None = None) -> None:
    """Let the next trial have these values."""
    study.enqueue_trial(dict(values), user_attrs={**(facts or {}), VALUES: dict(values)})


class NumberedSampler(BaseSampler):
    """Chooses by seed, number of the trial and the trials before: two processes never draw the same at random.

    With a generator per process both would begin with the same trials. Values that are tried at the moment count as bad
    ones, so that other processes look elsewhere.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.number, self.sampler = -1, None

    def _of(self, trial: FrozenTrial) -> TPESampler:
        if trial.number != self.number:
            seed = int(np.random.SeedSequence([self.seed, trial.number]).generate_state(1)[0])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                sampler = TPESampler(n_startup_trials=STARTUP, multivariate=True, constant_liar=True, seed=seed)
            self.number, self.sampler = trial.number, sampler
        return self.sampler

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)


def done(study: Study) -> list[FrozenTrial]:
    """Return the trials that have given an answer, those that were given up before their last epoch included."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def finished(study: Study) -> list[FrozenTrial]:
    """Return the trials that were trained to the end, the best one first."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(trials, key=lambda trial: (-trial.value, trial.number))
