"""Trials of a study with an objective that costs nothing: none is lost, whatever happens to those who do them."""

import os
import signal
import subprocess
import sys
import time

import optuna
import pytest
from optuna.trial import TrialState

from utils.errors import ConfigError
from utils.runs import ROOT
from utils.search import study as study_module
from utils.search import trials as trials_module
from utils.search.study import MAX_RETRIES, REPEATS, agree, done, enqueue, finished, hidden, open_storage, open_study
from utils.search.trials import MAX_FAILURES, PROCESS, TrialError, search


def nothing():
    """What follows a trial here."""


def parabola(trial):
    return 1 - (trial.suggest_float("x", 0, 1) - 0.3) ** 2


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('study')}/study.db"


@pytest.fixture(scope="module")
def storage(url):
    return open_storage(url)


@pytest.fixture
def study(storage, request):
    return open_study(storage, request.node.name, seed=0, epochs=3)


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(trials_module, "LOOK_S", 0.05)


def values_of(study):
    return [trial.params["x"] for trial in study.get_trials(deepcopy=False)]


def test_a_search_makes_the_wished_number_of_trials_and_no_more(study):
    calls = []
    search(study, 3, parabola, lambda: calls.append(len(done(study))))
    search(study, 3, parabola, nothing)

    assert calls == [1, 2, 3] and len(study.trials) == 3


def test_it_begins_with_what_is_in_the_queue(study):
    enqueue(study, {"x": 0.25})
    search(study, 2, parabola, nothing)

    assert values_of(study)[0] == 0.25


def test_the_best_trial_is_that_of_the_highest_fitness(study):
    for x in (0.9, 0.31, 0.0):
        enqueue(study, {"x": x})
    search(study, 3, parabola, nothing)

    assert [trial.params["x"] for trial in finished(study)] == [0.31, 0.0, 0.9]


def test_one_seed_gives_the_same_trials_also_where_the_search_was_stopped_in_between(study, storage, monkeypatch):
    monkeypatch.setattr(study_module, "STARTUP", 2)
    search(study, 5, parabola, nothing)
    for count in (1, 4, 5):
        search(open_study(storage, "again", seed=0, epochs=3), count, parabola, nothing)

    again = values_of(open_study(storage, "again", seed=0, epochs=3))
    assert again == values_of(study) and len(set(again)) == 5


def test_another_seed_gives_other_trials(study, storage):
    search(study, 2, parabola, nothing)
    other = open_study(storage, "other seed", seed=1, epochs=3)
    search(other, 2, parabola, nothing)

    assert not set(values_of(study)) & set(values_of(other))


def test_a_trial_that_fails_is_noted_and_another_takes_its_place(study):
    def fails_first(trial):
        if parabola(trial) and trial.number == 0:
            raise TrialError("diverged")
        return parabola(trial)

    search(study, 2, fails_first, nothing)

    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert study.trials[0].user_attrs["failure"] == "diverged"


def test_a_search_of_which_all_trials_fail_ends(study):
    def fails(trial):
        raise TrialError("the loss is not finite")

    with pytest.raises(ConfigError, match=f"the last {MAX_FAILURES} trials have failed.*the loss is not finite"):
        search(study, 100, fails, nothing)


def test_failures_that_are_not_in_a_row_do_not_end_it(study):
    def fails_often(trial):
        if trial.number % MAX_FAILURES:
            raise TrialError("diverged")
        return parabola(trial)

    search(study, 2, fails_often, nothing)

    assert len(study.trials) == MAX_FAILURES + 1 and len(done(study)) == 2


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_a_trial_that_is_cut_off_is_done_again_first(study, end):
    def is_cut_off(trial):
        parabola(trial)
        raise end

    with pytest.raises(end):
        search(study, 2, is_cut_off, nothing)
    search(study, 2, parabola, nothing)

    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert values_of(study)[0] == values_of(study)[1] and study.trials[1].user_attrs[REPEATS] == 0


def test_a_trial_that_ends_its_process_each_time_is_left_out_at_last(study):
    def is_cut_off(trial):
        parabola(trial)
        raise KeyboardInterrupt

    for _ in range(MAX_RETRIES + 1):
        with pytest.raises(KeyboardInterrupt):
            search(study, 1, is_cut_off, nothing)
    search(study, 1, parabola, nothing)

    values = values_of(study)
    assert len(set(values[:-1])) == 1 and values[-1] != values[0]


def test_a_trial_that_is_worse_than_half_of_the_others_is_given_up_and_counts(study):
    def objective(trial):
        value = 0.0 if trial.number == 6 else 1.0
        parabola(trial)
        for epoch in range(3):
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    search(study, 8, objective, nothing)

    states = [trial.state for trial in study.trials]
    assert states == [TrialState.COMPLETE] * 6 + [TrialState.PRUNED, TrialState.COMPLETE]
    assert list(study.trials[6].intermediate_values) == [0, 1]  # not before a third of the epochs


def test_a_trial_of_a_dead_process_of_this_machine_is_done_again_at_once(study):
    trial = trials_module._ask(study)
    parabola(trial)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    trial.set_user_attr(PROCESS, [trials_module.socket.gethostname(), gone.pid, 12345])

    search(study, 1, parabola, nothing)

    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert values_of(study)[0] == values_of(study)[1]


def test_a_silent_trial_of_another_machine_is_done_again(url, monkeypatch):
    monkeypatch.setattr(study_module, "HEARTBEAT_S", 1)
    monkeypatch.setattr(study_module, "SILENCE_S", 1)
    study = open_study(open_storage(url), "silent", seed=0, epochs=3)
    trial = trials_module._ask(study)
    parabola(trial)
    trial.set_user_attr(PROCESS, ["elsewhere", 1, 1])
    study._storage.record_heartbeat(trial._trial_id)

    search(study, 1, parabola, nothing)  # it waits until the other is silent for more than a second

    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert values_of(study)[0] == values_of(study)[1]


def test_a_trial_that_was_killed_before_it_told_its_process_does_not_hold_the_search_up(study, monkeypatch):
    monkeypatch.setattr(trials_module, "SILENCE_S", 0.1)
    trials_module._ask(study)

    search(study, 1, parabola, nothing)

    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]


def test_a_trial_that_others_have_given_up_is_not_counted_twice(study, monkeypatch):
    def others_give_it_up(trial):
        value = parabola(trial)
        if trial.number == 0:
            study.tell(trial.number, state=TrialState.FAIL)
        return value

    search(study, 1, others_give_it_up, nothing)

    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]


def test_a_surplus_trial_leaves_what_it_was_to_repeat_in_the_queue(study):
    enqueue(study, {"x": 0.5}, {REPEATS: 17})
    trial = trials_module._ask(study)
    trials_module._withdraw(study, trial)
    search(study, 1, parabola, nothing)

    assert study.trials[1].params == {"x": 0.5} and study.trials[1].user_attrs[REPEATS] == 17


WORKER = """
import sys, time
from utils.search.study import open_storage, open_study
from utils.search.trials import search
def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    print(trial.number, flush=True)
    time.sleep(float(sys.argv[3]) if trial.number == int(sys.argv[4]) else 0)
    return x
search(open_study(open_storage(sys.argv[1]), sys.argv[5], seed=0, epochs=3), int(sys.argv[2]), objective, lambda: None)
"""


def worker(url, study, count, pause=0, at=-1):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, url, str(count), str(pause), str(at), study.study_name],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow  # two processes that import Optuna
def test_two_processes_share_the_trials_and_none_is_lost_or_done_twice(study, url):
    workers = [worker(url, study, 8) for _ in range(2)]
    told = [set(process.communicate()[0].split()) for process in workers]

    finished_ones = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    assert [process.returncode for process in workers] == [0, 0]
    assert len(finished_ones) == 8 and not told[0] & told[1]
    assert len({trial.params["x"] for trial in finished_ones}) == 8  # each draws what the others do not


@pytest.mark.slow
def test_a_process_that_is_killed_in_a_trial_loses_none(study, url):
    killed = worker(url, study, 3, pause=60, at=1)
    while killed.stdout.readline().strip() != "1":
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()

    search(study, 3, parabola, nothing)

    states = [trial.state for trial in study.trials]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert values_of(study)[1] == values_of(study)[2]


def test_all_who_work_on_a_study_compare_the_same(study):
    assert agree(study, {"space": {"x": [0, 1]}, "epochs": 3})
    assert not agree(study, {"space": {"x": [0, 1]}, "epochs": 3})
    with pytest.raises(ConfigError, match="compares other trainings: epochs differ"):
        agree(study, {"space": {"x": [0, 1]}, "epochs": 4})


@pytest.mark.parametrize(
    "url", ["nonsense", "sqlite:////nowhere/study.db", "postgresql://me:secret@127.0.0.1:1/x", "odd://me:secret@here/x"]
)
def test_a_database_that_cannot_be_opened_is_one_sentence_without_the_password(url):
    with pytest.raises(ConfigError, match="this database cannot be opened") as error:
        open_storage(url)

    assert "secret" not in str(error.value)


def test_a_password_is_not_shown():
    assert hidden("mysql://me:secret@host/x") == "mysql://me:***@host/x"
