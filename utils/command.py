"""Run a command from the shell: flags in, one sentence where something is wrong, an exit code; signals end it well."""

import errno
import os
import signal
import sys
import threading
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from utils.config import parse_config
from utils.dist import rank, refuse_several_processes, world
from utils.errors import StorageError, UserError, lacking_memory
from utils.terminal import DISK_ERRORS, console, error_text
from utils.text import safe_text

EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143
SPINS = "2000"  # about 50 µs


def run_command(
    main: Callable[[Any], Any], config_class: type, *, goes_on: bool = False, is_shared: bool = False
) -> typing.NoReturn:
    """Parse the flags, set up logging, call ``main(config)`` and exit with a code of the README.

    A command that ``goes_on`` is not ended by a standard output that cannot be written, see ``utils.terminal``. One
    that ``is_shared`` may be started by ``torchrun`` in several processes, of which the first speaks.
    """
    let_waiting_threads_sleep()
    with console(goes_on, quiet=rank() > 0), _ended_by_sigterm():
        sys.exit(_exit_code(main, config_class, is_shared))


def let_waiting_threads_sleep() -> None:
    """Let PyTorch's threads sleep soon while they wait for each other; it reads this when it is imported.

    By default they spin for a long time, and on a machine with other work take the core from the thread that is waited
    for: two trainings on two cores took 7 times as long. See ``utils.training.cores``.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = SPINS


def _exit_code(main: Callable[[Any], Any], config_class: type, is_shared: bool) -> int:
    try:
        cfg = parse_config(config_class, sys.argv[1:])
        if not is_shared:
            refuse_several_processes()
        main(cfg)
    except UserError as error:
        return _fail(error_text(error), error.exit_code)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one ends what is still waited for, in silence
        _end_children()
        if rank() == 0:
            print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        where = safe_text(error.filename or "a file")
        if error.errno == errno.ENAMETOOLONG:  # of a path that was given: ours are short
            return _fail(f"{where}: the name is too long\nfix: give the path of a file", UserError.exit_code)
        if error.errno not in DISK_ERRORS:
            raise
        what = f"{where}: cannot be written ({error.strerror})"
        return _fail(f"{what}\nfix: free some space, or choose another folder", StorageError.exit_code)
    except RuntimeError as error:
        text = _known_failure(error)
        if text is None:
            raise
        return _fail(text, UserError.exit_code)
    return 0


def _known_failure(error: RuntimeError) -> str | None:
    """Return what PyTorch's error means where the user can do something about it."""
    if where := lacking_memory(error):
        fewer = "" if where == "the GPU" else ", or fewer --workers"
        return f"{where} has too little memory\nfix: a smaller --batch-size, --imgsz or model{fewer}"
    if str(error).startswith("DataLoader worker"):
        return (
            f"a process that loads images was ended: {safe_text(error)}\nfix: if it was for want of memory, "
            "fewer --workers or no --cache; what was saved so far is whole"
        )
    if world() > 1 and _has_lost_others(error):
        return "another process of this run has ended\nfix: go on from what was saved, with --resume"
    return None


def _has_lost_others(error: RuntimeError) -> bool:
    """Return whether an error of torch.distributed says that another process is gone."""
    return type(error).__name__.startswith("Dist") or "gloo" in str(error) or "onnection" in str(error)


def _fail(text: str, exit_code: int) -> int:
    collective = sys.modules.get("utils.collective")  # absent where PyTorch is, and no process has met another
    if collective.fails_first() if collective else rank() == 0:
        print(f"error: {text}", file=sys.stderr)
    return exit_code


def _end_children() -> None:
    """End the processes that load images at once; the DataLoader would wait until they have made their batches."""
    multiprocessing = sys.modules.get("multiprocessing")  # absent where there can be none
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler would take this for a failure
    for child in multiprocessing.active_children() if multiprocessing else ():
        child.kill()


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM raise SystemExit, so that what is open is closed; a second one ends at once."""
    owner = os.getpid()

    def end(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != owner:  # in a forked child, which ends as if nothing had been set
            os.kill(os.getpid(), number)
        _end_children()
        raise SystemExit(EXIT_TERMINATED)

    own = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if own:
        signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if own:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
