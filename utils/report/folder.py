"""Read the folder of a training run, of this repository or of YOLOv5, finished or not."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import ConfigError
from utils.report.record import read_record
from utils.report.table import Results, read_results
from utils.yaml_file import read_yaml


@dataclass(frozen=True)
class RunFolder:
    """What a folder says of its run; what it lacks is empty."""

    path: Path
    options: Mapping[str, Any]  # opt.yaml
    hyp: Mapping[str, Any]
    results: Results
    record: Mapping[str, Any]  # run.json

    @property
    def sessions(self) -> list[Mapping[str, Any]]:
        """Starts and resumes, in order."""
        found = self.record.get("sessions")
        return [session for session in found if isinstance(session, dict)] if isinstance(found, list) else []

    @property
    def fitness(self) -> str:
        return str(self.options.get("fitness", "default"))

    @property
    def seconds(self) -> float | None:
        """Of all sessions whose end is known; None where none is."""
        known = [session["seconds"] for session in self.sessions if isinstance(session.get("seconds"), int | float)]
        return sum(known) if known else None

    def picture(self, name: str) -> Path | None:
        path = self.path / name
        return path if path.is_file() else None


def read_folder(path: Path) -> RunFolder:
    """Return what a run folder holds. Raises: ConfigError where it is none."""
    if path.name in ("results.csv", "opt.yaml"):
        path = path.parent
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        raise ConfigError(f"{path}: {what}", "give the folder of a run, as runs/train/exp")
    if not any((path / name).is_file() for name in ("results.csv", "opt.yaml")):
        what = f"{path}: is no run of train.py: it has neither results.csv nor opt.yaml"
        raise ConfigError(what, "give the folder of a run, as runs/train/exp")
    try:
        results = read_results(path / "results.csv")
    except OSError as error:
        raise ConfigError(f"{path / 'results.csv'}: cannot be read ({error.strerror})", "check its rights") from error
    options, hyp = (_mapping(path / name) for name in ("opt.yaml", "hyp.yaml"))
    return RunFolder(path.absolute(), options, hyp, results, read_record(path))


def _mapping(path: Path) -> dict[str, Any]:
    """Return the content of a YAML file by key, nothing where there is none."""
    found = read_yaml(path) if path.is_file() else {}
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}
