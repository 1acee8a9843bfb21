"""The bar is drawn often on a terminal only: a log file keeps every state of it."""

import sys
import time

from utils.engine.progress import progress_bar


class Terminal:
    def __init__(self, is_terminal: bool) -> None:
        self.is_terminal, self.written = is_terminal, ""

    def isatty(self) -> bool:
        return self.is_terminal

    def write(self, text: str) -> None:
        self.written += text

    def flush(self) -> None:
        pass


def states(monkeypatch, is_terminal: bool) -> list[str]:
    """Return what was drawn of a bar over five batches of more than tqdm's tenth of a second each."""
    stream = Terminal(is_terminal)
    monkeypatch.setattr(sys, "stdout", stream)
    bar = progress_bar(range(5), "losses")
    for index in bar:
        bar.set_description_str(f"batch {index}", refresh=False)
        time.sleep(0.11)
    return [state for state in stream.written.split("\r") if state.strip()]


def test_a_terminal_sees_the_bar_move_and_a_file_only_its_ends(monkeypatch):
    shown, logged = states(monkeypatch, True), states(monkeypatch, False)

    assert len(shown) >= 5
    assert len(logged) == 2
    assert "0/5" in logged[0]
    assert "batch 4" in logged[-1]
    assert "5/5" in logged[-1]
