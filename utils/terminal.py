"""What a command shows: nothing in it steers the terminal, and the command ends well when nobody takes it any more.

Where standard output cannot be written, because its reader is gone (``| head``) or a disk is full, most commands stop:
exit code 141 for the reader, 5 and a sentence for the disk. One that works for hours goes on in silence instead, with
exit code 0, because what it was started for is in files. A stream that was closed from the start is silence too.
"""

import copy
import errno
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from utils.errors import UserError
from utils.text import safe_lines, safe_text

READER_GONE = (errno.EPIPE, errno.EINVAL)  # the latter on Windows
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
EXIT_READER_GONE, EXIT_STORAGE = 141, 5


@contextmanager
def console(goes_on: bool = False, quiet: bool = False) -> Iterator[None]:
    """Log to standard output, errors alone if ``quiet``, and guard the standard streams until the end.

    Raises: SystemExit where standard output cannot be written, unless the command ``goes_on`` without it.
    """
    before = sys.stdin, sys.stdout, sys.stderr
    threads, threading.excepthook = threading.excepthook, _thread_failed
    _open_closed_streams()
    bar = UnfinishedLine()
    sys.stderr = Output(sys.stderr, ends=False, bar=bar)
    sys.stdout = Output(sys.stdout, ends=not goes_on, bar=bar)
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(lambda record: record.levelno > logging.INFO or not record.name.startswith("matplotlib"))
    handler.setFormatter(LineFormatter("%(message)s"))
    logging.basicConfig(level=logging.ERROR if quiet else logging.INFO, handlers=[handler])
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            sys.stdin, sys.stdout, sys.stderr = before
            threading.excepthook = threads


def _thread_failed(args: Any) -> None:
    """Say nothing of a thread that ran out of disk (TensorBoard's writes in one): the main thread finds out next."""
    if not (isinstance(args.exc_value, OSError) and args.exc_value.errno in DISK_ERRORS):
        threading.__excepthook__(args)


def _open_closed_streams() -> None:
    """Let a stream that was closed (``>&-``) lead nowhere, and no file get its number and what is written there."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                _lead_nowhere(number)
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - it stays open


def _lead_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)


class UnfinishedLine:
    """The line that a progress bar draws over and over; other text would be glued to it, and takes its place.

    The bar comes back below with its next state.
    """

    def __init__(self) -> None:
        self._erase: Callable[[], None] | None = None
        self._process = os.getpid()

    def drawn(self, owner: "Output", text: str) -> None:
        """Note a text that begins at the start of the line and may stay there."""
        width = len(text.strip("\r"))
        stays = width and not text.endswith(("\r", "\n"))
        self._erase = (lambda: owner.write(f"\r{' ' * width}\r")) if stays else None

    def left(self) -> None:
        """Note that the line was ended: what stands there stays."""
        self._erase = None

    def make_room(self) -> None:
        """Erase the line if one stands there."""
        erase = self._erase
        if erase:
            erase()
            if os.getpid() != self._process:  # in a forked child, which does not see the bar come back
                self._erase = erase


class Output:
    """A standard stream that shows ``?`` for a character its encoding lacks, and leads nowhere once it fails."""

    def __init__(self, stream: TextIO, *, ends: bool, bar: "UnfinishedLine") -> None:
        """``ends``: the command ends with the stream. ``bar`` is that of all streams that may be one terminal."""
        self._stream, self._ends, self._bar = stream, ends, bar
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if text.startswith("\r"):
            self._bar.drawn(self, text)
        elif text.strip("\n"):
            self._bar.make_room()
        elif text:
            self._bar.left()
        self._guarded(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._guarded(self._stream.flush)

    def _guarded(self, action: Callable[..., Any], *args: str) -> None:
        try:
            action(*args)
        except OSError as error:
            if threading.current_thread() is threading.main_thread():  # else it will find out by itself
                _lead_nowhere(self._stream.fileno())  # for C code and children too, and for what is still buffered
                self._lost(error)

    def _lost(self, error: OSError) -> None:
        """Say why where that helps. Raises: SystemExit; no handler of exceptions takes it for its own."""
        if error.errno not in READER_GONE and self is sys.stdout:
            what = f"standard output cannot be written ({error.strerror})"
            fix = "free some space, or send the output elsewhere"
            sys.stderr.write(f"error: {what}\nfix: {fix}\n" if self._ends else f"{what}; going on without it\n")
        if self._ends:
            raise SystemExit(EXIT_READER_GONE if error.errno in READER_GONE else EXIT_STORAGE)


class LineFormatter(logging.Formatter):
    """Shows the arguments of a message on one line each; its own line ends are the program's, and stay."""

    def format(self, record: logging.LogRecord) -> str:
        shown = copy.copy(record)  # other handlers get the original
        if isinstance(record.args, tuple):
            shown.args = tuple(map(_argument, record.args))
        return safe_lines(super().format(shown))


def _argument(value: object) -> object:
    if isinstance(value, UserError):
        return error_text(value)
    return value if hasattr(value, "__index__") or hasattr(value, "__float__") else safe_text(value)


def error_text(error: UserError) -> str:
    """Return what is wrong and the fix, a line each; a line end that is not before a row of a list is of a name."""
    what, fix = ("\n  ".join(map(safe_text, text.split("\n  "))) for text in (error.what, error.fix))
    return f"{what}\nfix: {fix}" if fix else what
