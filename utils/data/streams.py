"""Cameras, network streams, screens and videos at the same time: a thread for each, of a live one the newest frame.

A live stream that breaks off is opened again, after pauses that grow, and does not stop the others. It is given up
after as many attempts as there are pauses, none of which brought frames for ``WELL_S``: one that breaks off after a
frame, each time, is no better than none. Once all are given up or at their end, so is the source.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from utils.data.sources import Frame
from utils.errors import DataError, UserError
from utils.text import counted

log = logging.getLogger(__name__)

PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)  # before a stream is opened again
WELL_S = 10.0  # from its first frame to its last, after which a stream counts as well, and all pauses are its again
POLL_S = 0.2  # in which Ctrl-C is obeyed everywhere
LAST_CALL_S = 1.0  # that a thread gets to end


class Reader(Protocol):
    """An open stream; made, used and closed in one thread."""

    fps: float | None

    def read(self) -> np.ndarray | None:
        """Return the next frame (H, W, C), None at the end or where the stream has broken off."""

    def close(self) -> None:
        """Give it back."""


@dataclass(frozen=True)
class Channel:
    """What to open: ``open`` raises a UserError where it is not there; a live one drops what nobody has time for."""

    name: str  # of its outputs
    address: str  # as it may be shown
    open: Callable[[], Reader]
    is_live: bool = True


@dataclass
class _Stream:
    """A channel, and what its thread has brought; all is read and written under ``changed``."""

    channel: Channel
    changed: threading.Condition
    stop: threading.Event
    waiting: tuple[np.ndarray, float, float | None] | None = None  # frame, when it came, frames per second
    is_tried: bool = False
    is_over: bool = False
    error: UserError | None = None  # why it is not there
    fault: Exception | None = None  # of ours
    taken: int = 0
    began: float | None = None
    thread: threading.Thread | None = field(default=None, repr=False)

    def start(self) -> None:
        self.thread = threading.Thread(target=self._run, name=self.channel.name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._keep_open()
        except Exception as fault:  # raised again where the frames are asked for
            self.fault = fault
        with self.changed:
            self.is_tried = self.is_over = True
            self.changed.notify_all()

    def _keep_open(self) -> None:
        failures = 0
        while not self.stop.is_set():
            seconds = self._read_to_the_end(is_back=failures > 0)
            if not self.channel.is_live:
                return
            has_broken_off = seconds is not None or not failures
            failures = 1 if seconds is not None and seconds >= WELL_S else failures + 1
            if failures > len(PAUSES_S):
                log.warning("%s: given up after %s", self.channel.address, counted(failures - 1, "attempt"))
                return
            self.stop.wait(PAUSES_S[failures - 1])
            if has_broken_off and not self.stop.is_set():
                why = self.error.what if self.error else "it has broken off"
                pauses = ", ".join(f"{pause:g}" for pause in PAUSES_S[failures - 1 :])
                log.warning("%s: %s; it is tried again, after %s s", self.channel.address, why, pauses)

    def _read_to_the_end(self, is_back: bool) -> float | None:
        """Open the stream and hand its frames out; return the seconds from the first to the last, None without any.

        What is wrong becomes ``error``.
        """
        first, last = None, 0.0
        try:
            with closing(self.channel.open()) as reader:
                self.error = None
                self._tell_tried()
                while not self.stop.is_set() and (image := reader.read()) is not None:
                    last = time.monotonic()
                    if first is None:
                        first = last
                        if is_back:
                            log.info("%s: there again", self.channel.address)
                    self._hand_out(image, reader.fps)
        except UserError as error:
            self.error = error
            self._tell_tried()
        return None if first is None else last - first

    def _tell_tried(self) -> None:
        with self.changed:
            self.is_tried = True
            self.changed.notify_all()

    def _hand_out(self, image: np.ndarray, fps: float | None) -> None:
        with self.changed:
            while not self.channel.is_live and self.waiting is not None and not self.stop.is_set():
                self.changed.wait(POLL_S)
            self.waiting = image, time.monotonic(), fps
            self.changed.notify_all()

    def take(self, index: int, count: int) -> Frame:
        """Return the frame that waits. To be called under ``changed``."""
        assert self.waiting is not None
        image, moment, fps = self.waiting
        self.began = moment if self.began is None else self.began
        seconds = moment - self.began if self.channel.is_live else None
        number, self.taken, self.waiting = self.taken, self.taken + 1, None
        facts = {"frame_number": number, "frame_count": 0, "fps": fps, "is_stream": True, "seconds": seconds}
        return Frame(Path(self.channel.name), image, index, count, is_video=True, **facts)


class StreamSource:
    """Iterates over what several streams bring, each in turn, in lists. Threads end with the ``with`` block."""

    kind = "stream"

    def __init__(self, channels: Sequence[Channel]) -> None:
        self._changed, self._stop = threading.Condition(), threading.Event()
        self._streams = [_Stream(channel, self._changed, self._stop) for channel in channels]
        self.skipped: list[tuple[Path, str]] = []  # after the end: what brought no frame, and why

    def __len__(self) -> int:
        """Return the number of streams."""
        return len(self._streams)

    def __enter__(self) -> "StreamSource":
        """Open all streams. Raises: UserError where none is there."""
        for stream in self._streams:
            stream.start()
        try:
            self._wait(lambda: all(stream.is_tried for stream in self._streams))
            if all(stream.error or stream.fault for stream in self._streams):
                first = self._streams[0].error or self._streams[0].fault
                assert first is not None
                raise first
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        limit = time.monotonic() + LAST_CALL_S
        for stream in self._streams:
            if stream.thread is not None:  # one that waits for the network is left to its own end
                stream.thread.join(max(limit - time.monotonic(), 0))

    def batches(self, size: int) -> Iterator[list[Frame]]:
        """Yield what has come from the streams, at most ``size`` frames at once, no more than one of each stream."""
        streams, turn = self._streams, 0
        while True:
            self._wait(lambda: any(s.waiting or s.fault for s in streams) or all(s.is_over for s in streams))
            with self._changed:
                for stream in streams:
                    if stream.fault:
                        raise stream.fault
                order = [(turn + step) % len(streams) for step in range(len(streams))]
                ready = [index for index in order if streams[index].waiting][:size]
                frames = [streams[index].take(index, len(streams)) for index in ready]
                self._changed.notify_all()
            if not frames:
                break
            turn = (ready[-1] + 1) % len(streams)
            yield frames
        self._note_silent()

    def _note_silent(self) -> None:
        """Raises: DataError where no stream has brought a frame."""
        for stream in self._streams:
            if not stream.taken:
                why = stream.error.what if stream.error else f"{stream.channel.address}: no frames came"
                log.warning("left out: %s", why)
                self.skipped.append((Path(stream.channel.name), why))
        if len(self.skipped) == len(self._streams):
            if self._streams[0].error:
                raise self._streams[0].error
            what = f"{self._streams[0].channel.address}: opened, but no frame came"
            raise DataError(what, "check it in another program, such as ffplay or vlc")

    def _wait(self, done: Callable[[], bool]) -> None:
        with self._changed:
            while not self._changed.wait_for(done, POLL_S):
                pass
