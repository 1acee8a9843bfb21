"""Which run of a tracking service belongs to a run folder, so that --resume goes on with that one.

``tracking.yaml`` of the run holds for each service the id of its run and the last epoch that it was given.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from utils.loggers._contract import Run
from utils.yaml_file import read_yaml, write_yaml

FILE = "tracking.yaml"


class Tracked:
    """What tracking.yaml says of one service; nothing for a new run, also in a folder that had another before."""

    def __init__(self, run: Run, service: str) -> None:
        self.path, self.service, self.rows = run.folder / FILE, service, run.rows
        own = self._all().get(service) if run.goes_on else None
        self.id: str | None = str(own["id"]) if own else None
        self._epoch = int(own["epoch"]) if own else -1

    def begin(self, id: str) -> None:
        """Note the id of a run that was made anew."""
        self.id = id
        self._write()

    def missing(self) -> Iterator[Mapping[str, float]]:
        """Yield the rows of earlier epochs that the service has not been given."""
        yield from (row for row in self.rows if self.is_new(row))

    def is_new(self, row: Mapping[str, float]) -> bool:
        """Return whether an epoch was not given yet; one that is trained again, from an older state, was."""
        return int(row["epoch"]) > self._epoch

    def note(self, row: Mapping[str, float]) -> None:
        """Note that an epoch was given."""
        self._epoch = int(row["epoch"])
        self._write()

    def _all(self) -> dict[str, Any]:
        return read_yaml(self.path) or {} if self.path.is_file() else {}

    def _write(self) -> None:
        write_yaml(self.path, self._all() | {self.service: {"id": self.id, "epoch": self._epoch}})
