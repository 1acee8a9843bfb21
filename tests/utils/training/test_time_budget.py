"""--time: a run has as many epochs as fit, and its schedule is that of so many. A clock of the test counts batches."""

import math
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_detector import write_tiny_project

import train
from utils.config import make_config
from utils.configs.train import TrainConfig
from utils.errors import ConfigError
from utils.runs import ROOT
from utils.training import loop, time_budget
from utils.training.run_state import RunState
from utils.yaml_file import read_yaml, write_yaml

BATCHES = 3
SETTINGS = {"cfg": "tiny.yaml", "data": "pets.yaml", "imgsz": 64, "batch_size": 1, "workers": 0, "plots": False}
SETTINGS |= {"device": "cpu", "hyp": "hyp.yaml", "epochs": 3}


@pytest.fixture
def clock(tmp_path, monkeypatch):
    """A clock whose ``batch_s`` is what a batch of each epoch takes; an epoch has three. ``stop`` is a place."""
    monkeypatch.chdir(tmp_path)
    write_tiny_project()
    low = read_yaml(ROOT / "data/hyps/hyp.scratch-low.yaml")
    write_yaml("hyp.yaml", low | {"warmup_epochs": 0, "nominal_batch": 1, "close_mosaic": 2})
    clock = SimpleNamespace(now=0.0, batch_s=lambda epoch: 60, stop=None)
    monkeypatch.setattr(time_budget, "time", SimpleNamespace(monotonic=lambda: clock.now))
    work = RunState.next_batch

    def next_batch(self, items):
        work(self, items)
        clock.now += clock.batch_s(self.epoch)
        if clock.stop == (self.epoch, self.batch):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RunState, "next_batch", next_batch)
    return clock


def run(**options):
    return Path(train.run(**options if "resume" in options else SETTINGS | options).save_dir)


def column(run_dir, title):
    rows = [line.split(",") for line in (run_dir / "results.csv").read_text().splitlines()]
    index = [cell.strip() for cell in rows[0]].index(title)
    return [float(row[index]) for row in rows[1:]]


def linear(epochs):
    """Return the learning rates of a run: 0.01, down to a hundredth of it."""
    return [0.01 * ((1 - epoch / epochs) * 0.99 + 0.01) for epoch in range(epochs)]


def test_as_many_epochs_as_fit_are_trained_and_the_schedule_is_theirs(clock, monkeypatch, caplog):
    caplog.set_level("INFO")
    sessions, build = [], loop.build_session
    monkeypatch.setattr(loop, "build_session", lambda cfg: sessions.append(build(cfg)) or sessions[-1])

    run_dir = run(time=0.5)  # 1800 s, of which an epoch takes 180

    assert column(run_dir, "x/lr1") == pytest.approx(linear(10), abs=1e-6)
    augment = sessions[0].train_loader.batches.augment
    assert [augment.at(epoch).mosaic for epoch in range(10)] == [1.0] * 8 + [0.0] * 2
    assert augment.epochs.is_shared()  # with the processes that make the images
    assert "as many epochs as fit into 0.5 h" in caplog.text
    assert "--time 0.5: 10 epochs fit, 1 done in" in caplog.text and caplog.text.count("epochs fit,") == 1


def test_epochs_that_take_longer_make_fewer(clock):
    clock.batch_s = lambda epoch: 60 if epoch < 2 else 120
    # fitting by the mean of those done: 10, 10, 1800 · 3 / 720 = 7, 1800 · 4 / 1080 = 6, 6, 6

    run_dir = run(time=0.5)

    factors = [(0, 3), (1, 10), (2, 10), (3, 7), (4, 6), (5, 6)]  # epoch, of how many
    expected = [0.01 * ((1 - epoch / epochs) * 0.99 + 0.01) for epoch, epochs in factors]
    assert column(run_dir, "x/lr1") == pytest.approx(expected, abs=1e-6)
    assert clock.now == 1800


def test_an_epoch_that_turns_out_to_be_the_last_is_validated_and_saved(clock):
    clock.batch_s = lambda epoch: 60 if epoch < 3 else 900

    run_dir = run(time=0.5, val=False, save=False)

    assert [math.isnan(value) for value in column(run_dir, "metrics/mAP_0.5")] == [True, True, True, False]
    assert (run_dir / "weights/best.pt").is_file()


def test_a_run_has_one_epoch_at_least(clock):
    assert len(column(run(time=0.01), "epoch")) == 1  # 36 s


@pytest.mark.parametrize("stop", [(4, 2), (5, 3), (0, 1)])
def test_what_a_run_took_before_it_was_resumed_counts(clock, stop):
    clock.stop = stop
    with pytest.raises(KeyboardInterrupt):
        run(time=0.5)
    clock.stop, clock.now = None, clock.now + 1e6

    run_dir = run(resume="runs/train/exp")

    assert column(run_dir, "x/lr1") == pytest.approx(linear(10), abs=1e-6)


def test_more_time_makes_a_finished_run_longer(clock, caplog):
    caplog.set_level("INFO")
    run_dir = run(time=0.5)
    run(resume=run_dir)
    assert "all epochs are trained" in caplog.text and "a larger --time goes on" in caplog.text

    run(resume=run_dir, time=0.6)  # 2160 s

    assert column(run_dir, "epoch") == list(range(12))


@pytest.mark.parametrize("hours", [0, -1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(hours):
    with pytest.raises(ConfigError, match="--time"):
        make_config(TrainConfig, {"time": hours})
