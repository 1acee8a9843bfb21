"""What is said of the time that a training takes; the clock is invented."""

import logging
import re

import pytest

from utils.training import pace
from utils.training.pace import VALIDATION_COST, Pace


@pytest.fixture
def clock(monkeypatch):
    now = {"time": 1000.0}
    monkeypatch.setattr(pace.time, "monotonic", lambda: now["time"])
    return now


def train(run: Pace, clock, seconds):
    """Let batches begin that take so long."""
    for batch in seconds:
        run.batch()
        clock["time"] += batch


def test_the_first_batches_tell_how_long_the_run_takes(clock, caplog):
    caplog.set_level(logging.INFO)

    train(Pace(epochs=36, batches=50), clock, [9.0] + [0.5] * 49)

    assert len(caplog.messages) == 1  # 36 × 50 × 0.5 s; the first batch is no measure
    assert re.fullmatch(r"36 epochs: about 15 min, until \d\d:\d\d", caplog.messages[0])


def test_the_first_estimate_counts_the_validation(clock, caplog):
    caplog.set_level(logging.INFO)

    train(Pace(epochs=10, batches=60, validated=60), clock, [1.0] * 60)

    assert f"about {10 * (1 + VALIDATION_COST):.0f} min," in caplog.messages[0]


@pytest.mark.parametrize(
    ("batches", "seconds"),
    [(50, [0.05] * 50), (3, [60.0] * 3), (1, [60.0])],
    ids=["an epoch of 2 s", "three batches", "one batch"],
)
def test_nothing_is_said_from_too_little(clock, caplog, batches, seconds):
    caplog.set_level(logging.INFO)
    run = Pace(epochs=3, batches=batches)

    train(run, clock, seconds * 3)

    assert caplog.messages == []


def test_a_run_over_days_says_which_day(clock, caplog):
    caplog.set_level(logging.INFO)

    train(Pace(epochs=300, batches=7000), clock, [1.0] * 20)

    assert re.fullmatch(r"300 epochs: about 583 h 20 min, until \w+ \d\d:\d\d", caplog.messages[0])


def test_what_is_left_is_measured_in_whole_epochs(clock):
    run = Pace(epochs=4, batches=2)
    assert run.left(0) == ""

    train(run, clock, [100.0, 100.0])  # the validation takes another 100
    clock["time"] += 100

    assert run.left(1) == "about 15 min left"
