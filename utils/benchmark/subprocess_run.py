"""Run a function in a fresh process: its peak memory is its own, and its crash ends nothing else."""

import logging
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from utils.errors import UserError
from utils.terminal import console
from utils.text import one_line

log = logging.getLogger(__name__)

GRACE_S = 5.0  # for a child to end by itself


class IsolatedError(Exception):
    """The function raised, or its process died; the message says which in one line."""


def isolated(function: Callable[..., Iterable[Any]], *args: Any) -> Iterator[Any]:
    """Yield what ``function(*args)`` yields in a new interpreter; function, arguments and items must be picklable.

    Raises: IsolatedError, after the items that came before.
    """
    context = multiprocessing.get_context("spawn")
    (receiver, sender), (task, task_sender) = context.Pipe(duplex=False), context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, task))
    process.start()
    sender.close()  # ours; so that the end of the child is the end of the pipe
    task.close()
    try:
        with task_sender, suppress(BrokenPipeError):  # it has died already, and why is told below
            task_sender.send((function, args))
        while True:
            kind, value = receiver.recv()
            if kind == "done":
                return
            if kind == "failed":
                raise IsolatedError(value)
            yield value
    except EOFError:
        process.join()
        raise IsolatedError(_cause_of_death(process.exitcode)) from None
    finally:
        process.join(GRACE_S)
        process.terminate()
        process.join()


def _run(sender: Connection, task: Connection) -> None:
    """Send items of the ``task`` that comes, a function and its arguments, then ``done``; or why there are no more."""
    with console(goes_on=True):
        try:
            function, args = task.recv()  # here, because it imports their modules, and Ctrl-C may come meanwhile
            for item in function(*args):
                sender.send(("item", item))
            sender.send(("done", None))
        except UserError as error:
            sender.send(("failed", one_line(error.what)))
        except Exception as error:  # it ends here; the parent goes on with what it got
            log.exception("unexpected error")
            sender.send(("failed", reason(error)))
        except KeyboardInterrupt:
            sys.exit(130)


def reason(error: Exception) -> str:
    """Return an error on one line."""
    return f"{type(error).__name__}: {one_line(error, 300)}"


def _cause_of_death(exit_code: int) -> str:
    if exit_code >= 0:
        return f"its process ended with exit code {exit_code}"
    name = signal.Signals(-exit_code).name
    memory = "; most likely the memory was used up" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{memory}"
