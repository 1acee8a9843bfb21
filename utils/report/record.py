"""run.json of a run folder: what its report says beyond options, hyper-parameters and results.csv.

``sessions``, one for each start of the run and each --resume: when, by which command, with which code and machine, how
long it took and how it ended. ``data``, what the data set was. ``names`` of the classes, ``classes``, the figures of
best.pt for each that has labels, and ``confusion``, the counts (nc + 1, nc + 1) [predicted, true].
"""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from utils.errors import StorageError
from utils.runs import write_text

log = logging.getLogger(__name__)

FILE = "run.json"
MAX_BYTES = 20_000_000  # the matrix of a thousand classes has 7


def read_record(folder: Path) -> dict[str, Any]:
    """Return the content of run.json, nothing where there is none or it is none of ours."""
    path = folder / FILE
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("not an object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s: cannot be read (%s), the report goes without it", path, error)
        return {}
    return found


class RunRecord:
    """Writes run.json, whole at every moment. That it cannot be written costs a warning."""

    def __init__(self, folder: Path, facts: Mapping[str, Any], data: Mapping[str, Any], goes_on: bool) -> None:
        """``facts`` are of this session; ``goes_on`` keeps those before it."""
        self.folder = folder
        before = read_record(folder).get("sessions") if goes_on else None
        sessions = before if isinstance(before, list) else []
        self.session = {"started": _now(), **facts}
        self.content: dict[str, Any] = {"sessions": [*sessions, self.session], "data": dict(data)}
        self._write()

    def result(
        self,
        images: int,
        names: Sequence[str],
        classes: Sequence[Mapping[str, Any]],
        confusion: Sequence[Sequence[int]],
    ) -> None:
        """Note what best.pt finds in so many ``images``; ``close`` writes it. ``names`` are those of all classes."""
        self.content |= {"images": images, "names": list(names), "classes": list(classes), "confusion": list(confusion)}

    def close(self, seconds: float, parts: Mapping[str, float], state: str) -> None:
        """Note how long this session took, and what for, and how it ended."""
        self.session |= {"seconds": round(seconds, 3), "state": state}
        self.session["parts"] = {part: round(value, 3) for part, value in parts.items()}
        self._write()

    def _write(self) -> None:
        try:
            write_text(self.folder / FILE, json.dumps(self.content, ensure_ascii=False, indent=1) + "\n")
        except (StorageError, ValueError) as error:  # ValueError: half a character in a path
            log.warning("%s: not written, the report goes without it: %s", self.folder / FILE, error)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
