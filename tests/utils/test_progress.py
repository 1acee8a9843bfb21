"""Percent, count and time left are there on any terminal; a file gets plain lines, and few of them."""

import logging
import re
import sys
from types import SimpleNamespace

import pytest

from utils import progress
from utils.progress import Bar, progress_bar
from utils.training.epoch import line

TEXT = line(("box", "obj", "cls"), "299/299", "12.3G", ["0.0123", "0.0456", "1.23e-05"], 1234, 1280)


class Terminal:
    def __init__(self, is_terminal: bool) -> None:
        self.is_terminal, self.written = is_terminal, ""

    def isatty(self) -> bool:
        return self.is_terminal

    def write(self, text: str) -> None:
        self.written += text

    def flush(self) -> None:
        pass


def drawn(columns, *, text=TEXT, done=2500, total=7393, seconds=700.0):
    """Return the state of a bar on a terminal of so many columns."""
    bar = Bar(range(total), text, file=Terminal(True), ncols=columns, initial=0)
    bar.n, bar.start_t = done, bar._time() - seconds
    shown = str(bar)
    bar.disable = True
    return shown


@pytest.mark.parametrize("columns", [30, 40, 60, 79, 80, 81, 100, 120, 200])
def test_percent_count_and_time_left_show_at_every_width(columns):
    shown = drawn(columns)

    assert len(shown) < columns
    assert re.search(r"34%.* 2500/7393.*22:50", shown)  # 700 s for 2500, 4893 more in 1370 s


def test_80_columns_show_the_losses_and_120_all():
    assert drawn(80, done=250, total=739).startswith(TEXT)
    assert "left" in drawn(80, done=250, total=739)
    assert re.search(r"\[11:40<22:50, +3.57it/s\]", drawn(120))
    assert drawn(120).startswith(TEXT)


def test_a_finished_bar_says_how_long_it_took():
    assert "100% 7393/7393, took 11:40" in drawn(90, done=7393)


@pytest.mark.parametrize(("stays", "percents"), [(True, ["20%", "60%", "100%"]), (False, ["20%", "60%"])])
def test_a_file_gets_plain_lines(monkeypatch, caplog, stays, percents):
    stream, clock = Terminal(False), iter([0, 31, 40, 65, 70, 80])
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    caplog.set_level(logging.INFO)

    with progress_bar(range(5), stays=stays) as batches:
        for _ in batches:
            batches.set_description_str("losses")

    assert stream.written == ""
    assert [message.split()[:2] for message in caplog.messages] == [["losses", percent] for percent in percents]
    assert "1/5, 00:31, 02:04 left" in caplog.messages[0]


def test_a_terminal_sees_the_bar_from_its_start_to_its_end(monkeypatch):
    stream = Terminal(True)
    monkeypatch.setattr(sys, "stdout", stream)

    with progress_bar(range(3), "batches") as bar:
        for index in bar:
            bar.set_description_str(f"batch {index}", refresh=True)

    states = [state.strip() for state in stream.written.split("\r") if state.strip()]
    assert states[0].startswith("batches   0%")
    assert states[-1].startswith("batch 2 100%")
