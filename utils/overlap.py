"""Do one thing while another is done: an iterator that works ahead, a function that works behind, both in a thread.

Order is kept, what waits is bounded, and an error comes up in the thread of the caller. When the caller is done, or
fails, what has not begun is dropped, and what has begun is waited for.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
_END: Any = object()


def ahead(items: Iterable[Item], size: int) -> Iterator[Item]:
    """Yield the items, of which a thread makes at most ``size`` more than were asked for."""
    iterator = iter(items)
    thread = ThreadPoolExecutor(1, "ahead")
    try:
        waiting = deque(thread.submit(next, iterator, _END) for _ in range(size))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(thread.submit(next, iterator, _END))
            yield item
    finally:
        thread.shutdown(cancel_futures=True)
        if hasattr(iterator, "close"):  # of a generator, whose files are open
            iterator.close()


@contextmanager
def behind(function: Callable[..., None], size: int) -> Iterator[Callable[..., None]]:
    """Yield ``function`` as one that returns at once, unless ``size`` calls are waiting; at the end all are done.

    An error of a call is raised by the next one, or at the end. After one of the caller, waiting calls are dropped.
    """
    waiting: deque[Future[None]] = deque()
    thread = ThreadPoolExecutor(1, "behind")

    def call(*arguments: Any) -> None:
        while waiting and (waiting[0].done() or len(waiting) >= size):
            waiting.popleft().result()
        waiting.append(thread.submit(function, *arguments))

    try:
        yield call
        while waiting:
            waiting.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)
