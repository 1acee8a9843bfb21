"""results.csv: one row per epoch, complete at every moment."""

from collections.abc import Mapping
from pathlib import Path

from utils.loggers._contract import LOGGERS
from utils.runs import write_text


@LOGGERS.register("csv")
class CsvLogger:
    """Keeps all rows and rewrites the file after each, so that neither a crash nor a full disk leaves half a row."""

    def start(self, run_dir: Path) -> None:
        self.path = run_dir / "results.csv"
        self.rows: list[dict[str, float]] = []

    def epoch(self, row: Mapping[str, float]) -> None:
        self.rows.append(dict(row))
        lines = [",".join(f"{heading:>20}" for heading in row)]
        lines += [",".join(f"{value:20.5g}" for value in earlier.values()) for earlier in self.rows]
        write_text(self.path, "\n".join(lines) + "\n")

    def image(self, name: str, path: Path) -> None:
        """A table has no place for pictures."""

    def finish(self) -> None:
        """Every row is already on disk."""
