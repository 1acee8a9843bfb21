"""What a process of its own writes does not end it, and one that is interrupted writes nothing."""

import signal
import sys

import pytest

from utils.benchmark.subprocess_run import IsolatedError, isolated


def say(text):
    sys.stdout.write(text)
    yield sys.stdout.encoding


def test_a_process_can_say_what_its_terminal_cannot_show(monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")

    assert list(isolated(say, "96×96 → 3 levels\n")) == ["ascii"]


class Interrupted:
    """What interrupts the process that reads it, as Ctrl-C does one that still imports PyTorch."""

    def __reduce__(self):
        return signal.raise_signal, (signal.SIGINT,)


def test_a_child_that_is_interrupted_while_it_starts_shows_no_traceback(capfd):
    with pytest.raises(IsolatedError, match="exit code 130"):
        next(isolated(list, Interrupted()))
    assert capfd.readouterr().err == ""
