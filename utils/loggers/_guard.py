"""A logger that somebody else's package, network or disk can break, kept from breaking the training."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from utils.loggers._contract import Logger, Run
from utils.text import one_line

log = logging.getLogger(__name__)

LONGEST = 300  # characters of an error that are shown


class Guarded:
    """Passes on every call until one fails; then says so once, and does nothing any more."""

    def __init__(self, name: str, logger: Logger) -> None:
        self.name, self.logger, self.works = name, logger, True

    def start(self, run: Run) -> None:
        self._call(self.logger.start, run)

    def epoch(self, row: Mapping[str, float]) -> None:
        self._call(self.logger.epoch, row)

    def image(self, name: str, path: Path) -> None:
        self._call(self.logger.image, name, path)

    def file(self, path: Path) -> None:
        self._call(self.logger.file, path)

    def finish(self, completed: bool) -> None:
        self._call(self.logger.finish, completed)

    def _call(self, method: Callable[..., None], *values: Any) -> None:
        if not self.works:
            return
        try:
            method(*values)
        except Exception as error:  # whatever a foreign package raises; signals and exits pass
            self.works = False
            what = f"{type(error).__name__}: {one_line(error, LONGEST)}"
            log.warning("--logger %s failed and is left out from here on, the run goes on: %s", self.name, what)
