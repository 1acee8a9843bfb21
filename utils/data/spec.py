"""The description of a data set: a YAML file that says where the images lie and what the classes are called.

Paths are relative to the YAML file; where nothing lies there, to the clone, as YOLOv5 has it. Nothing that the file
says is ever executed or downloaded: ``download`` is quoted as a hint, ``generator: shapes`` draws the embedded set.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.data.shapes import draw_shapes_dataset
from utils.errors import ConfigError, DataError
from utils.files import find_file
from utils.registry import suggest
from utils.runs import ROOT
from utils.yaml_file import read_yaml

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class DataSpec:
    """A data set: absolute paths of folders or list files for each split, class names by id."""

    file: Path
    root: Path
    train: list[Path]
    val: list[Path]
    test: list[Path]
    names: dict[int, str]
    hyp: str = ""  # hyper-parameter file that suits the data; empty where the YAML names none

    @property
    def nc(self) -> int:
        return len(self.names)


def load_data_spec(path: str | Path, required: Sequence[str] = ("train", "val")) -> DataSpec:
    """Return the data set that a YAML file describes; a bare name is looked for below data/.

    The paths of the ``required`` splits must exist. Raises: ConfigError for the file, DataError for missing images.
    """
    file = find_file(path, "data", (".yaml", ".yml")).absolute()
    data = read_yaml(file)
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: holds no keys", "a data-set YAML has the keys path, train, val and names")
    _check_keys(file, data, ("names", *required))
    names = _names(file, data)
    values = {split: _values(file, data, split) for split in SPLITS}
    roots = _roots(file, data)
    if "generator" in data:
        _generate(file, data["generator"], roots[0])
    root = next((root for root in roots if not _missing(root, values, required)), roots[0])
    missing = _missing(root, values, required)
    if missing:
        raise _missing_error(file, data, roots, *missing[0])
    splits = {split: [_locate(root, value) for value in values[split]] for split in SPLITS}
    return DataSpec(file=file, root=root, names=names, hyp=_hyp(file, data), **splits)


def _check_keys(file: Path, data: dict, wanted: Sequence[str]) -> None:
    for key in wanted:
        if key not in data:
            hint = suggest(key, [str(other) for other in data if other not in (*SPLITS, "names", "path")])
            raise ConfigError(f"{file}: key {key!r} is missing" + (f"; {hint}" if hint else ""), f"add {key}: …")
        if not data[key]:
            raise ConfigError(f"{file}: {key} is empty", f"give {key} a value")


def _names(file: Path, data: dict) -> dict[int, str]:
    """Return the class names by id, from a list or a mapping 0…n-1."""
    names = data["names"]
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict):
        raise ConfigError(f"{file}: names is {names!r}, not a list or mapping", "write names: [first, second]")
    absent = [index for index in range(len(names)) if index not in names]
    if absent:
        keys = ", ".join(map(repr, names))
        raise ConfigError(
            f"{file}: names must have the keys 0 to {len(names) - 1}, but {absent[0]} is missing among {keys}",
            "number the classes without gaps or quotes",
        )
    for index, name in names.items():
        if not isinstance(name, (str, int, float)) or isinstance(name, bool):
            raise ConfigError(f"{file}: YAML reads the name of class {index} as {name!r}", "put it in quotes")
    if "nc" in data and data["nc"] != len(names):
        raise ConfigError(f"{file}: nc is {data['nc']!r}, but names has {len(names)} classes", "correct or remove nc")
    texts = {index: str(names[index]) for index in range(len(names))}
    if len(set(texts.values())) < len(texts):
        log.warning("%s: some classes have the same name", file)
    return texts


def _values(file: Path, data: dict, split: str) -> list[str]:
    """Return the paths of a split as written."""
    value = data.get(split) or []
    values = value if isinstance(value, list) else [value]
    wrong = [value for value in values if not isinstance(value, str) or not value]
    if wrong:
        raise ConfigError(f"{file}: {split} is {value!r}, not a path or a list of paths", "write a path as text")
    return values


def _roots(file: Path, data: dict) -> list[Path]:
    """Return the folders that ``path`` can mean, the likeliest first."""
    value = "" if data.get("path") is None else data["path"]
    if not isinstance(value, str):
        raise ConfigError(f"{file}: path is {value!r}, not a folder", "write the folder as text")
    return list(dict.fromkeys(_join(base, value) for base in (file.parent, ROOT)))


def _join(base: Path, value: str) -> Path:
    """Return the path without ``..``; links stay, because labels are found by the path as written."""
    return Path(os.path.normpath(base / Path(value).expanduser()))


def _hyp(file: Path, data: dict) -> str:
    """Return the hyper-parameter file: a path relative to the YAML file, or a name to look for."""
    value = data.get("hyp", "")
    if not isinstance(value, str):
        raise ConfigError(f"{file}: hyp is {value!r}, not a file", "write the path of a hyper-parameter YAML")
    beside = file.parent / value
    return str(beside) if beside.is_file() else value


def _locate(root: Path, value: str) -> Path:
    """Return where a split lies; exporters that write ``../train/images`` often mean ``train/images``."""
    path = _join(root, value)
    inside = _join(root, value.removeprefix("../"))
    return inside if inside.exists() and not path.exists() else path


def _missing(root: Path, values: dict[str, list[str]], required: Sequence[str]) -> list[tuple[str, str]]:
    """Return (split, value) of the required paths that do not exist."""
    return [(split, value) for split in required for value in values[split] if not _locate(root, value).exists()]


def _missing_error(file: Path, data: dict[str, Any], roots: list[Path], split: str, value: str) -> DataError:
    hint = data.get("download")
    if isinstance(hint, str) and hint.startswith(("http://", "https://")) and "\n" not in hint.strip():
        fix = f"get the data from {hint.strip()} and put them into {roots[0]}"
    elif hint:
        fix = f"put the data into {roots[0]}; what the YAML has under download is never executed"
    else:
        fix = "correct path and the splits in the YAML, or put the data there"
    tried = " and ".join(str(_locate(root, value)) for root in roots)
    return DataError(f"{file}: {split}: {value} does not exist (looked for {tried})", fix)


def _generate(file: Path, generator: Any, root: Path) -> None:
    if generator != "shapes":
        raise ConfigError(f"{file}: unknown generator {generator!r}", "the one generator is shapes")
    draw_shapes_dataset(root)
