"""results.csv: one row per epoch, complete at every moment."""

import logging
from collections.abc import Mapping
from pathlib import Path

from utils.errors import StorageError
from utils.loggers._contract import LOGGERS, Run
from utils.runs import write_text

log = logging.getLogger(__name__)


@LOGGERS.register("csv")
class CsvLogger:
    """Keeps all rows and rewrites the file after each, so that neither a crash nor a full disk leaves half a row.

    A file that cannot be written, because Excel has it open, is written with the next row or at the end.
    """

    def start(self, run: Run) -> None:
        self.path = run.folder / "results.csv"
        self.rows = [dict(row) for row in run.rows]
        self.behind = False  # the file lacks rows
        if self.rows:  # it may lack the last one, or hold some of epochs that are trained again
            self._write()

    def epoch(self, row: Mapping[str, float]) -> None:
        self.rows.append(dict(row))
        self._write()

    def _write(self) -> None:
        lines = [",".join(f"{heading:>20}" for heading in self.rows[0])]
        lines += [",".join(f"{value:20.5g}" for value in row.values()) for row in self.rows]
        try:
            write_text(self.path, "\n".join(lines) + "\n")
            self.behind = False
        except StorageError as error:
            self.behind = True
            log.warning("%s; tried again with the next row, or at the end", error.what)

    def image(self, name: str, path: Path) -> None:
        """A table has no place for pictures."""

    def file(self, path: Path) -> None:
        """Nor for other files."""

    def finish(self, completed: bool) -> None:
        """Try once more if the file lacks rows."""
        if self.behind:
            self._write()
