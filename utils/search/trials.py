"""Work on a study until it has enough trials, together with the processes that do the same."""

import logging
import os
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import optuna
import psutil
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from utils.errors import ConfigError
from utils.search.study import HEARTBEAT_S, SILENCE_S, VALUES, done, enqueue, finished, repeat
from utils.text import one_line

log = logging.getLogger(__name__)

PROCESS = "process"  # user attribute of a trial: host, number and start of the process that does it
FAILURE = "failure"  # of a trial: why it has failed
CLOCK_S = 5  # that the start of a process may seem to be moved by, where the clock is set
LOOK_S = 2.0  # between two looks at what other processes do
MAX_FAILURES = 5  # in a row, before the search ends


class TrialError(Exception):
    """A trial has no answer, for a reason that is its own; the search goes on."""


Objective = Callable[[Trial], float]  # the higher the better; may raise TrialError, or optuna.TrialPruned


def search(study: Study, count: int, objective: Objective, after: Callable[[], None]) -> None:
    """Do trials until the study has ``count`` of them with an answer; ``after`` is called behind each.

    A trial that anything else than its own failure ends is put into the queue. Raises: ConfigError where all fail.
    """
    failures: list[str] = []
    seen: dict[int, float] = {}
    while (trial := _next(study, count, seen)) is not None:
        failure = _try(study, trial, objective)
        failures = [*failures, failure] if failure else []
        after()
        if len(failures) == MAX_FAILURES:
            what = f"the last {MAX_FAILURES} trials have failed, the last one so: {failure}"
            raise ConfigError(what, "try the options without --evolve first, or narrow the ranges of --evolve-space")


def _next(study: Study, count: int, seen: dict[int, float]) -> Trial | None:
    """Return a trial to do, None where the study has enough; while others do the last ones, wait for these."""
    is_told = False
    while True:
        _find_cut_off(study, seen)
        if len(done(study)) >= count:
            return None
        if len(done(study)) + len(_running(study)) < count:
            trial = _ask(study)
            trial.set_user_attr(PROCESS, _me())
            if not _is_surplus(study, trial, count):
                return trial
            _withdraw(study, trial)
        if not is_told:
            log.info("the last trials are done by other processes; waiting, in case one of these ends")
            is_told = True
        time.sleep(LOOK_S)


def _ask(study: Study) -> Trial:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that ask() gives no sign of life; see _heartbeat
        return study.ask()


def _running(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def _is_surplus(study: Study, trial: Trial, count: int) -> bool:
    """Return whether other processes, asking at the same time, have the last trials; the lower numbers go first."""
    before = [other for other in _running(study) if other.number < trial.number]
    return len(done(study)) + len(before) >= count


def _withdraw(study: Study, trial: Trial) -> None:
    """Give a trial back that others need not do; what it would have repeated waits on."""
    facts = study.tell(trial, state=TrialState.FAIL).user_attrs
    if VALUES in facts:
        enqueue(study, facts[VALUES], facts)


def _try(study: Study, trial: Trial, objective: Objective) -> str:
    """Do a trial, and return why it has failed, empty where it has an answer."""
    failure, value, state = "", None, TrialState.COMPLETE
    try:
        with _heartbeat(study, trial):
            value = objective(trial)
    except optuna.TrialPruned:
        state = TrialState.PRUNED
        log.info("trial %d: given up, others were better at this epoch", trial.number)
    except TrialError as error:
        failure, state = str(error), TrialState.FAIL
        trial.set_user_attr(FAILURE, failure)
        log.warning("trial %d failed: %s", trial.number, failure)
    except BaseException:
        repeat(study, study.tell(trial, state=TrialState.FAIL, skip_if_finished=True))
        raise
    told = study.tell(trial, value, state, skip_if_finished=True)
    if told.state != state:
        log.warning("trial %d: its process was silent for so long that others have given it up", trial.number)
    elif state == TrialState.COMPLETE:
        best = finished(study)[0]
        log.info("trial %d: fitness %.5g; the best is %.5g, of trial %d", trial.number, value, best.value, best.number)
    return failure


@contextmanager
def _heartbeat(study: Study, trial: Trial) -> Iterator[None]:
    """Let others know, by the clock of the database, that this process is alive."""
    ended = threading.Event()

    def beat() -> None:
        while True:
            try:
                study._storage.record_heartbeat(trial._trial_id)
            except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
                log.warning("the database of the search cannot be reached at the moment (%s)", one_line(error, 200))
            if ended.wait(HEARTBEAT_S):
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _find_cut_off(study: Study, seen: dict[int, float]) -> None:
    """Put the trials of processes that are gone into the queue: at once on this machine, else once they are silent.

    ``seen`` is when this process has seen a trial first that no process has put its name to, in seconds: one that was
    ended between the two steps of its start, about which the database tells nothing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    for trial in _running(study):
        if PROCESS not in trial.user_attrs:
            is_gone = time.monotonic() - seen.setdefault(trial.number, time.monotonic()) > SILENCE_S
        else:
            host, number, start = trial.user_attrs[PROCESS]
            is_gone = host == socket.gethostname() and abs(start - _start(number)) > CLOCK_S
        if is_gone:
            repeat(study, study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True))


def _me() -> list[str | int]:
    return [socket.gethostname(), os.getpid(), _start(os.getpid())]


def _start(number: int) -> int:
    """Return when a process was started, in seconds, 0 where there is none; numbers are used again."""
    try:
        process = psutil.Process(number)
        return 0 if process.status() == psutil.STATUS_ZOMBIE else round(process.create_time())
    except psutil.NoSuchProcess:
        return 0
