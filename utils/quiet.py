"""Hold back for a while what loggers say."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet(below: int, *names: str) -> Iterator[None]:
    """Drop what is less than the level ``below``, of the loggers with these names, or of all without a name."""
    if not names:
        before = logging.root.manager.disable
        logging.disable(max(before, below - 1))
        try:
            yield
        finally:
            logging.disable(before)
        return
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(below, logger.getEffectiveLevel()))  # who has asked for less is not told more
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def quiet_root(below: int) -> Iterator[None]:
    """Drop what libraries without a logger of their own say, less than the level ``below``; all loggers go on."""

    def is_told(record: logging.LogRecord) -> bool:
        return record.levelno >= below

    logging.root.addFilter(is_told)
    try:
        yield
    finally:
        logging.root.removeFilter(is_told)
