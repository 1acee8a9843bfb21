"""One YAML, several sizes: ``scales`` maps a letter to depth, width and the most channels of a layer.

``yolov8s``, ``yolov8s.yaml`` and ``models/yolov8s.yaml`` mean scale s of models/yolov8.yaml: the letter stands behind
the number in the name that is asked for, small or capital. Where there is none, ``scale`` in the file decides, else
the first.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from utils.errors import ConfigError
from utils.files import find_file
from utils.runs import ROOT
from utils.yaml_file import read_yaml

log = logging.getLogger(__name__)

SUFFIXES = (".yaml", ".yml")
_LETTER = re.compile(r"yolo(?:e-)?v?\d+([nslmx])", re.IGNORECASE)
_ANY_LETTER = re.compile(r"yolo(?:e-)?v?\d+([a-z])", re.IGNORECASE)
_NUMBER_AND_LETTER = re.compile(r"(\d+)[nslmx]", re.IGNORECASE)
_SIX = re.compile(r"(yolov[58])[nslmx]6(|\.\w+)", re.IGNORECASE)  # short for -p6


def find_model_yaml(cfg: str | Path) -> tuple[Path, str, Any]:
    """Return the file that a path or name means, the letter of the scale in the name or "", and what the file holds.

    Raises: ConfigError where there is no such file.
    """
    path = Path(cfg)
    named = _LETTER.search(path.stem)
    letter = named[1].lower() if named else ""
    try:
        found = find_file(path, "models", SUFFIXES)
    except ConfigError:
        scaled = _find_scaled(path, letter)
        if scaled is None:
            raise
        return scaled
    return found, letter, _read(found)


def _read(path: Path) -> Any:
    return read_yaml(path, text_keys=("names",))


def _find_scaled(path: Path, letter: str) -> tuple[Path, str, Any] | None:
    """Return the file with ``scales`` that a name with a letter in it means, as above; None where there is none."""
    for name, scale in _without_letter(path.name, letter) if path.name else ():
        try:
            found = find_file(path.with_name(name), "models", SUFFIXES)
        except ConfigError:
            continue
        data = _read(found)
        if isinstance(data, Mapping) and "scales" in data:
            return found, scale, data
    return None


def _without_letter(name: str, letter: str) -> Iterator[tuple[str, str]]:
    """Yield what the file may be called whose scale a name tells, and that scale; names of our files are lower case."""
    for spelled in dict.fromkeys((name, name.lower())):
        yield _NUMBER_AND_LETTER.sub(r"\1", spelled, count=1), letter
        if six := _SIX.fullmatch(spelled):
            yield f"{six[1]}-p6{six[2]}", letter
        if not letter and (other := _ANY_LETTER.search(spelled)):  # who lacks it tells the letters that exist
            yield spelled[: other.start(1)] + spelled[other.end(1) :], other[1].lower()


def choose_scale(data: Mapping[str, Any], source: str, letter: str = "") -> dict[str, Any]:
    """Return a model YAML with its ``scale`` decided, and rows that depend on it with the name for that scale.

    ``letter`` is that of the name, empty where it says nothing. Raises: ConfigError for one that the file has not.
    """
    scales = data.get("scales")
    given = data.get("scale") or ""
    if not isinstance(scales, Mapping) or not scales:
        if given:
            log.warning("%s: scale %r decides nothing without 'scales'", source, given)
        return dict(data)
    scale = letter or given or next(iter(scales))
    if scale not in list(scales):  # whatever stands in the file, also what cannot be a key
        raise ConfigError(f"{source}: no scale {scale!r}", f"choose one of {', '.join(map(str, scales))}")
    if letter:
        log.info("%s: scale %s, as the name says", source, scale)
    elif not given:
        others = ", ".join(map(str, scales))
        log.warning(
            "%s: scale %s, the first of %s; say which by a letter behind the number in the name, or by 'scale:'",
            source,
            scale,
            others,
        )
    chosen, index = {**data, "scale": scale}, 0
    for part in ("backbone", "head"):
        if isinstance(rows := data.get(part), list):
            chosen[part] = [_row_of(row, scale, f"{source}: row {index + i}") for i, row in enumerate(rows)]
            index += len(rows)
    return chosen


def _row_of(row: Any, scale: str, place: str) -> Any:
    """Return the row with one module name where it maps each scale to its own."""
    if not (isinstance(row, list) and len(row) == 4 and isinstance(row[2], Mapping)):
        return row
    if scale not in row[2]:
        raise ConfigError(f"{place}: {row[2]!r} names no module for scale {scale!r}", "add it to the row")
    return [*row[:2], row[2][scale], row[3]]


def model_names() -> Iterator[tuple[str, Path]]:
    """Yield the name of every model that a YAML below models/ describes, with that file: one for each scale."""
    for path in sorted((ROOT / "models").glob("**/yolo*.yaml")):
        letters = _letters(path)
        number = re.search(r"\d+", path.stem)
        for letter in letters:
            yield (f"{path.stem[: number.end()]}{letter}{path.stem[number.end() :]}", path)
        if not letters:
            yield path.stem, path


def _letters(path: Path) -> list[str]:
    """Return the letters of ``scales`` in a file of ours, which is not read as YAML: that takes long for many."""
    _, found, rest = path.read_text(encoding="utf-8").partition("\nscales:")
    return re.findall(r"^ +([a-z]):", rest.partition("\n\n")[0], re.MULTILINE) if found else []
