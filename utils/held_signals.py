"""Hold SIGINT and SIGTERM back while something is finished."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

CHILD_ENDED = getattr(signal, "SIGCHLD", None)
HELD = (signal.SIGINT, signal.SIGTERM)
SAME_S = 1.0  # within which a signal is one: SLURM sends it to all processes, and torchrun passes on what it gets


@dataclass
class Caught:
    """The signal that has come while signals were held, 0 as long as none has."""

    number: int = 0
    at: float = 0.0  # when, in seconds of the monotonic clock


@contextmanager
def held_signals() -> Iterator[Caught]:
    """Note the first signal instead of obeying it; it is obeyed at the end, as without this. Another one, later
    than ``SAME_S``, ends at once.

    In another thread than the main one, where Python takes no signals, nothing is held.
    """
    caught = Caught()
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def note(number: int, _: Any) -> None:
        if caught.at:
            if time.monotonic() - caught.at > SAME_S:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            return
        caught.number, caught.at = number, time.monotonic()
        if CHILD_ENDED is not None:  # the signal may have gone to loader processes too; PyTorch would raise an error
            before[CHILD_ENDED] = signal.signal(CHILD_ENDED, lambda *_: None)

    before = {number: signal.signal(number, note) for number in HELD}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not set by Python
        if caught.number:
            signal.raise_signal(caught.number)
