"""Keep some of the classes of a data set, in an order of one's own, or several of them as one (``--classes``)."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from utils.data.scan.class_matching import ClassMatcher
from utils.data.scan.scan_result import ScanResult
from utils.errors import ConfigError
from utils.registry import suggest
from utils.text import counted, safe_text, shorten

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """The classes that are kept: their names, and ``members`` (old ids) of each."""

    names: dict[int, str]
    members: list[list[int]]

    def table(self, nc: int) -> np.ndarray:
        """Return the new id (nc,) of each old class, -1 for one that is left out."""
        table = np.full(nc, -1)
        for new, old in enumerate(self.members):
            table[old] = new
        return table


def select_classes(wanted: Sequence[str], names: Mapping[int, str]) -> Selection:
    """Return the classes that texts choose: ``person``, ``0`` or, for several as one, ``vehicle=car,truck,7``.

    A text that is a class name means that class, whatever else it could be. Raises: ConfigError for a class that is not
    among the ``names`` or is chosen twice, and for two of one name.
    """
    chosen: dict[str, list[int]] = {}
    owner: dict[int, str] = {}
    for text in wanted:
        new, equals, parts = text.partition("=")
        merges = bool(equals) and text not in names.values()
        members = [_find(part, names) for part in parts.split(",")] if merges else [_find(text, names)]
        name = new.strip() if merges else names[members[0]]
        if not name or name in chosen:
            why = "that name is given twice" if name else "no name in front of ="
            raise ConfigError(
                f"--classes {shorten(text)}: {why}", "give each class a name of its own, as in vehicle=car,truck"
            )
        for member in members:
            if member in owner:
                what = f"--classes {shorten(text)}: {safe_text(names[member])} is in {safe_text(owner[member])} already"
                raise ConfigError(what, "name every class once")
            owner[member] = name
        chosen[name] = members
    return Selection(dict(enumerate(chosen)), list(chosen.values()))


def reordered(model: Mapping[int, str], names: Mapping[int, str]) -> np.ndarray | None:
    """Return the id among ``names`` (nc,) of each class of a model that has the same classes in another order.

    None where the order is the same, or the names are others: then ids are all there is to go by.
    """
    find, own = ClassMatcher(names).find, list(range(len(names)))
    ids = [find(model[index]) for index in range(len(model))]
    if ids == own or None in ids or sorted(ids) != own:
        return None
    log.warning(
        "the model has the classes in another order, 0 is %s there and %s here: they are matched by name",
        safe_text(model[0]),
        safe_text(names[0]),
    )
    return np.array(ids)


def _find(text: str, names: Mapping[int, str]) -> int:
    text = text.strip()
    found = [index for index, name in names.items() if name == text]
    if not found and text.isascii() and text.isdigit() and int(text) in names:
        found = [int(text)]
    found = found[0] if found else ClassMatcher(names).find(text)
    if found is not None:
        return found
    known = ", ".join(safe_text(name) for name in list(names.values())[:20]) + (" …" if len(names) > 20 else "")
    raise ConfigError(f"--classes: no class {shorten(text)!r}", suggest(text, names.values()) or f"classes are {known}")


def keep_classes(scan: ScanResult, selection: Selection, nc: int) -> ScanResult:
    """Return a scan with the labels of the chosen classes alone; an image without any is a background."""
    table = selection.table(nc)
    labels, segments = [], []
    for rows, polygons in zip(scan.labels, scan.segments, strict=True):
        kept = _kept(rows, table)
        labels.append(_renamed(rows[kept], table))
        segments.append([polygon for polygon, is_kept in zip(polygons, kept.tolist(), strict=True) if is_kept])
    ignored = [_renamed(rows[_kept(rows, table)], table) for rows in scan.ignored]
    found, before = sum(map(len, labels)), sum(map(len, scan.labels))
    log.info("--classes: %s of %d label rows", found, before)
    if not found:
        what = f"--classes: none of the {counted(before, 'label row')} is of {', '.join(selection.names.values())}"
        raise ConfigError(what, "choose classes that the images show")
    return replace(scan, labels=labels, segments=segments, ignored=ignored)


def _kept(rows: np.ndarray, table: np.ndarray) -> np.ndarray:
    return table[rows[:, 0].astype(int)] >= 0


def _renamed(rows: np.ndarray, table: np.ndarray) -> np.ndarray:
    rows = rows.copy()
    rows[:, 0] = table[rows[:, 0].astype(int)]
    return rows
