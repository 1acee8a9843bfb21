"""What a process of its own writes does not end it."""

import sys

from utils.benchmark.subprocess_run import isolated


def say(text):
    sys.stdout.write(text)
    yield sys.stdout.encoding


def test_a_process_can_say_what_its_terminal_cannot_show(monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")

    assert list(isolated(say, "96×96 → 3 levels\n")) == ["ascii"]
