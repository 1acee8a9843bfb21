"""Work ahead and behind: in order, bounded, with errors where the caller sees them."""

import threading
import time

import pytest

from utils.overlap import ahead, behind


def test_items_come_in_order_and_no_more_than_so_many_are_made_ahead():
    made = []

    def items():
        for number in range(50):
            made.append(number)
            yield number

    for number in ahead(items(), 3):
        time.sleep(0.001)
        assert len(made) <= number + 1 + 3
    assert made == list(range(50))


def test_an_error_ahead_comes_after_the_items_before_it():
    def items():
        yield from (1, 2)
        raise OSError("gone")

    got = []
    with pytest.raises(OSError, match="gone"):
        for item in ahead(items(), 5):
            got.append(item)
    assert got == [1, 2]


def test_what_is_open_ahead_is_closed_when_the_caller_stops():
    closed = []

    def items():
        try:
            while True:
                yield threading.current_thread().name
        finally:
            closed.append(True)

    names = ahead(items(), 2)
    assert next(names).startswith("ahead")
    names.close()

    assert closed == [True]


def test_calls_are_done_in_order_behind_and_all_at_the_end():
    done = []

    def slow(number):
        time.sleep(0.002)
        done.append(number)

    with behind(slow, 4) as call:
        for number in range(20):
            call(number)
            assert number - len(done) <= 4
    assert done == list(range(20))


def test_an_error_behind_is_raised_by_the_next_call_and_nothing_more_is_done():
    done = []

    def full(number):
        done.append(number)
        if number == 1:
            raise OSError("full")

    with pytest.raises(OSError, match="full"), behind(full, 1) as call:
        for number in range(50):
            call(number)
    assert len(done) <= 3


def test_an_error_of_the_last_call_is_raised_at_the_end():
    def full(_):
        raise OSError("full")

    with pytest.raises(OSError, match="full"), behind(full, 9) as call:
        call(0)


def test_after_an_interruption_what_waits_is_dropped_and_what_has_begun_is_finished():
    done, begun = [], threading.Event()

    def slow(number):
        begun.set()
        time.sleep(0.05)
        done.append(number)

    with pytest.raises(KeyboardInterrupt), behind(slow, 9) as call:
        for number in range(5):
            call(number)
        begun.wait()
        raise KeyboardInterrupt
    assert done == [0]
