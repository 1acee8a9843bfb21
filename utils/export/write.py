"""Write one format of an order: under another name, opened again, compared with PyTorch, then given its name."""

import importlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from utils.checkpoint.facts import Backend
from utils.errors import CheckpointError, ExportError
from utils.export.compare import Comparison, RejectedError, check
from utils.export.facts import facts_of
from utils.export.graph import remedy
from utils.export.int8 import MapDrop
from utils.export.order import Order
from utils.export.prove import prove
from utils.formats import Format
from utils.runs import atomic_write, writable, write_text
from utils.text import safe_text

log = logging.getLogger(__name__)

UNPROVEN = {"darwin": "CoreML runs on macOS only; export.py compares it there"}  # system of a format → why


@dataclass(frozen=True)
class Written:
    """A file or folder that computes what the detector does."""

    form: Format
    path: Path
    about: str
    megabytes: float
    seconds: float
    comparisons: tuple[Comparison, ...]  # none where this system cannot run it
    drop: MapDrop | None = None  # of a file in integers
    max_drop: float | None = None  # of mAP50-95, for such a file

    def lines(self) -> list[str]:
        """Return the report as text."""
        found = f"{safe_text(self.path)}: {self.about}, {self.megabytes:.1f} MB, {self.seconds:.1f} s"
        if not self.comparisons:
            return [found]
        limits = self.limits()
        if self.drop:
            bounds = "without limits: what counts is mAP"
            cost = [f"{self.drop.line()}; drop {self.drop.drop:.4f}, limit {limits['max_drop']:g}"]
        else:
            bounds, cost = f"limits {limits['box_px']:g} px, {limits['score']:g}", []
        figures = (f"  {comparison.line()}" for comparison in self.comparisons)
        return [found, f"largest differences from PyTorch ({bounds}):", *figures, *cost]

    def limits(self) -> dict[str, float]:
        """Return what the figures were held against."""
        return {"max_drop": self.max_drop} if self.max_drop is not None else asdict(self.comparisons[0].limits)


def write_format(form: Format, order: Order, folder: Path, open_file: Callable[[Path], Backend]) -> Written:
    """Write ``folder/NAME`` in a format, and a report as JSON beside it; ``open_file`` makes a file ready to run.

    Raises: ExportError where it cannot be written or computes something else; nothing is left then.
    """
    started = time.perf_counter()
    path = folder / f"{order.name}{form.suffix}"
    module = importlib.import_module(f"utils.export.{form.name}")
    try:
        with staged(path, form) as temporary:
            about = module.write(order, temporary)
            layout = order.layout if "nms" in form.options else order.model.layout
            module.describe(temporary, facts_of(order, layout))
            comparisons, drop = _compared(form, order, temporary, open_file)
            facts = facts_of(order, layout, comparisons, drop)
            module.describe(temporary, facts)
            megabytes = size_of(temporary) / 1e6
    except CheckpointError as error:  # of the file under its temporary name
        what = f"{path}: not written: what was made of it cannot be run: {error.what.rpartition(': ')[2]}"
        raise ExportError(what, "use another format, or the .pt file") from error
    except RejectedError as error:
        raise ExportError(f"{path}: not written: {error}", error.fix or _fix(form, order)) from error
    spent, max_drop = time.perf_counter() - started, order.int8.max_drop if order.int8 else None
    written = Written(form, path, about, megabytes, spent, comparisons, drop, max_drop)
    if not comparisons:
        log.warning("%s: NOT compared with PyTorch, because %s", path, UNPROVEN[form.system])
    write_text(path.with_name(f"{path.name}.json"), json.dumps(_report(written, facts), indent=2) + "\n")
    return written


def _compared(
    form: Format, order: Order, path: Path, open_file: Callable[[Path], Backend]
) -> tuple[tuple[Comparison, ...], MapDrop | None]:
    """Return how far the file is from PyTorch, nothing where this system cannot run it, and what integers cost.

    Raises: RejectedError.
    """
    if not form.runs_here:
        return (), None
    backend = open_file(path)
    comparisons = tuple(check(found, form.name) for found in prove(backend, order, form.name))
    if not order.int8:
        return comparisons, None
    inside = order.nms if backend.layout.is_suppressed else None
    return comparisons, order.int8.proven(backend, inside)


def _report(written: Written, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts with what belongs to the report alone."""
    more = {"format": written.form.name, "file": written.path.name, "megabytes": round(written.megabytes, 3)}
    if not written.comparisons:
        return more | facts | {"not_compared": UNPROVEN[written.form.system]}
    return more | facts | {"limits": written.limits()}


def _fix(form: Format, order: Order) -> str:
    if "opset" in form.options and "proven" not in vars(order):  # the graph itself was refused
        return remedy(order.model, order.shape, order.opset, order.dynamic)
    return "use another format, or the .pt file"


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


@contextmanager
def staged(path: Path, form: Format) -> Iterator[Path]:
    """Yield a temporary file or folder beside ``path``; on success it, or each file in it, takes its place.

    Raises: StorageError; ExportError where something else is there.
    """
    if path.exists() and path.is_dir() != form.is_folder:
        there, wanted = ("folder", "file") if path.is_dir() else ("file", "folder")
        raise ExportError(f"{path}: is a {there}, and a {wanted} of this name is to be written", "move it away")
    if not form.is_folder:
        with atomic_write(path) as temporary:
            yield temporary
        return
    beside = {"dir": path.parent, "prefix": f".{path.stem}.", "suffix": form.suffix}
    with writable(path), tempfile.TemporaryDirectory(**beside) as temporary:
        yield Path(temporary)
        _publish(Path(temporary), path)


def _publish(temporary: Path, path: Path) -> None:
    """Let the files of a folder take their places in another. Raises: ExportError where that holds another network."""
    files = {file.relative_to(temporary): file for file in sorted(temporary.rglob("*")) if file.is_file()}
    kinds = {name.suffix for name in files if len(name.parts) == 1}
    others = [file.name for file in path.glob("*.*") if file.suffix in kinds and file.relative_to(path) not in files]
    if others:
        what = f"{path}: holds {', '.join(sorted(others)[:3])}, of another network than the one that is to be written"
        raise ExportError(what, "move that folder away")
    path.mkdir(exist_ok=True)
    for name, file in files.items():
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        file.replace(path / name)
