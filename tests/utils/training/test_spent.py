"""Where the time of an epoch went: shares that add up, and advice where images are late."""

import logging

import pytest

from utils.training import spent
from utils.training.spent import COMPUTE, IMAGES, VALIDATION, Spent, advice


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but where a test moves it."""
    now = [0.0]
    monkeypatch.setattr(spent.time, "perf_counter", lambda: now[0])
    return now


def epoch(clock, *, wait, compute, validation):
    """Return what two batches and a validation have taken."""

    def batches():
        for number in range(2):
            clock[0] += wait
            yield number

    measured = Spent()
    for _ in measured.waiting(batches()):
        with measured.on(COMPUTE):
            clock[0] += compute
    with measured.on(VALIDATION):
        clock[0] += validation
    return measured


def test_the_shares_are_told_largest_first_and_begin_anew(clock, caplog):
    caplog.set_level(logging.INFO)
    measured = epoch(clock, wait=1, compute=6, validation=6)

    assert measured.seconds == {IMAGES: 2, COMPUTE: 12, VALIDATION: 6}
    measured.tell(workers=2, cores=4)

    assert caplog.messages == ["20 s: forward and backward 60%, validation 30%, waiting for images 10%"]
    assert not measured.seconds


@pytest.mark.parametrize(
    ("wait", "compute", "validation", "is_told"),
    [(3, 6, 0, True), (3, 6, 90, True), (1, 6, 0, False), (0.3, 0.6, 0, False)],
    ids=["starved", "the validation does not count", "a little", "a short epoch"],
)
def test_advice_is_given_where_training_waits_for_images(clock, caplog, wait, compute, validation, is_told):
    caplog.set_level(logging.INFO)

    epoch(clock, wait=wait, compute=compute, validation=validation).tell(workers=2, cores=8)

    assert ("training waits for images: more --workers than 2, or --cache ram" in caplog.text) == is_told


def test_more_workers_than_cores_are_not_advised():
    assert "--workers" not in advice(workers=8, cores=8)


def test_an_error_in_a_part_is_passed_on_and_its_time_counts(clock):
    measured = Spent()
    with pytest.raises(ZeroDivisionError), measured.on(COMPUTE):
        clock[0] += 2
        raise ZeroDivisionError

    assert measured.seconds == {COMPUTE: 2}
