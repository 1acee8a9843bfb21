"""The description of a data set: a YAML file that says where the images lie and what the classes are called.

Paths are relative to the YAML file; where nothing lies there, to the clone, as YOLOv5 has it; texts are read as they
are written. Nothing that the file says is ever executed or downloaded: ``download`` is quoted as a hint,
``generator: shapes`` draws the embedded set.

What the YAML says can be seen at a glance; what lists and links say cannot. So no entry of a list file and no link in
the place of a label file may lead out of the folders that the YAML names, unless it has ``allow_outside: true``.
"""

import logging
import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.class_names import read_class_names
from utils.data.scan.coco_names import names_of_coco
from utils.data.scan.discovery import written_path
from utils.data.scan.folder_layout import SPLIT_COMMAND, proposed_yaml
from utils.data.shapes.dataset import draw_shapes_dataset
from utils.errors import ConfigError, DataError
from utils.files import find_file
from utils.pixels import BITS, MAX_CHANNELS, RGB, PixelFormat
from utils.registry import suggest
from utils.runs import ROOT
from utils.text import visible
from utils.yaml_file import read_yaml

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
TEXT_KEYS = (*SPLITS, "path", "names", "hyp", "generator", "download")
SUFFIXES = (".yaml", ".yml")
DRIVE = re.compile(r"[A-Za-z]:[/\\]")
FOREIGN = {  # a key that a data-set YAML has not → what the file is then
    "backbone": "a model YAML, which belongs to --cfg",
    "lr0": "a hyper-parameter file, which belongs to --hyp",
}


@dataclass(frozen=True)
class DataSpec:
    """A data set: absolute paths of folders, list files or COCO files for each split, class names by id."""

    file: Path
    root: Path
    train: list[Path]
    val: list[Path]
    test: list[Path]
    names: dict[int, str]
    hyp: str = ""  # hyper-parameter file that suits the data; empty where the YAML names none
    pixels: PixelFormat = RGB  # keys channels and bits
    allow_outside: bool = False  # lists and label links may lead out of the folders that the YAML names

    @property
    def nc(self) -> int:
        return len(self.names)

    @property
    def fence(self) -> list[Path] | None:
        """The folders that lists and label links must stay in; None where they may lead anywhere."""
        splits = [path.parent if path.is_file() else path for split in SPLITS for path in getattr(self, split)]
        return None if self.allow_outside else [self.root, *splits]


def load_data_spec(path: str | Path, required: Sequence[str] = ("train", "val")) -> DataSpec:
    """Return the data set that a YAML file describes: its path, the folder that holds it, or its name in data/.

    The paths of the ``required`` splits must exist; where none is required, nothing is drawn. Raises: ConfigError for
    the file, DataError for missing images.
    """
    file = find_data_yaml(path).absolute()
    data = read_yaml(file, TEXT_KEYS)
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: holds no keys", "a data-set YAML has the keys path, train, val and names")
    _check_keys(file, data, required if _of_coco(data) else ("names", *required))
    _check_no_poses(file, data)
    names = {} if data.get("names") is None else _names(file, data)
    values = {split: _values(file, data, split) for split in SPLITS}
    roots = _roots(file, data)
    if required and data.get("generator") is not None:
        _generate(file, data["generator"], roots[0])
    root = next((root for root in roots if not _missing(root, values, required)), roots[0])
    missing = _missing(root, values, required)
    if missing:
        raise _missing_error(file, data, roots, *missing[0])
    splits = {split: [_locate(root, value) for value in values[split]] for split in SPLITS}
    _warn_of_two_places(file, root, values)
    if not names:
        names = names_of_coco([path for split in SPLITS for path in splits[split]])
    if not names:
        _check_keys(file, data, ("names",))
    allow_outside = data.get("allow_outside", False)
    if not isinstance(allow_outside, bool):
        raise ConfigError(f"{file}: allow_outside is {allow_outside!r}", "write true or false")
    spec = DataSpec(
        file=file,
        root=root,
        names=names,
        hyp=_hyp(file, data),
        pixels=_pixels(file, data),
        allow_outside=allow_outside,
        **splits,
    )
    if allow_outside:
        log.info("%s: allow_outside: lists and label links may lead anywhere", file)
    return spec


def find_data_yaml(path: str | Path) -> Path:
    """Return the YAML file: ``path``, the one in the folder ``path``, or that of this name in data/ of the clone.

    Of several in a folder, data.yaml is it. Raises: ConfigError.
    """
    folder = Path(path)
    if not folder.is_dir():
        return find_file(path, "data", SUFFIXES, subfolders=False)
    found = sorted(file for suffix in SUFFIXES for file in folder.glob(f"*{suffix}") if file.is_file())
    chosen = [file for file in found if file.stem == "data"] or found
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        raise ConfigError(f"{path}: holds several YAML files: {', '.join(file.name for file in chosen)}", "name one")
    if folder.name == str(path):  # as good a name of a file in data/
        try:
            return find_file(path, "data", SUFFIXES, subfolders=False)
        except ConfigError:
            pass
    raise ConfigError(
        f"{path}: a folder without a data-set YAML (looked for data.yaml, *.yaml and *.yml in it)",
        f"write data.yaml there, with such lines:{proposed_yaml(folder)}",
    )


def _check_keys(file: Path, data: dict, wanted: Sequence[str]) -> None:
    for key in wanted:
        if key not in data:
            foreign = next((f": this is {what}" for mark, what in FOREIGN.items() if mark in data), "")
            hint = suggest(key, [str(other) for other in data if other not in (*SPLITS, "names", "path")])
            what = f"{file}: key {key!r} is missing{foreign}" + (f"; {hint}" if hint else "")
            fix = f"add {key}: …" + (f", or take one from train with {SPLIT_COMMAND}" if key == "val" else "")
            raise ConfigError(what, "give a data-set YAML to --data" if foreign else fix)
        if not data[key]:
            raise ConfigError(f"{file}: {key} is empty", f"give {key} a value")


def _of_coco(data: dict) -> bool:
    """True for a data set without names that may stand in a COCO file."""
    return data.get("names") is None and any(".json" in str(data.get(split)) for split in SPLITS)


def _check_no_poses(file: Path, data: dict) -> None:
    if data.get("kpt_shape") is not None:
        what = f"{file}: kpt_shape: these are labels of poses, whose key points would be read as outlines"
        raise ConfigError(what, "keep the first five columns of each row, and remove kpt_shape")


def _names(file: Path, data: dict) -> dict[int, str]:
    names = read_class_names(data["names"], file)
    if "nc" in data and data["nc"] != len(names):
        raise ConfigError(f"{file}: nc is {data['nc']!r}, but names has {len(names)} classes", "correct or remove nc")
    if len(set(names.values())) < len(names):
        log.warning("%s: some classes have the same name", file)
    return names


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
    return list(dict.fromkeys(written_path(base, _at_home(value)) for base in (file.parent, ROOT)))


def _at_home(value: str) -> str:
    """Return a path that begins with ``~/`` in the user's home folder."""
    try:
        return str(Path(value).expanduser())
    except RuntimeError:  # no such user, so that the name is meant
        return value


def _hyp(file: Path, data: dict) -> str:
    """Return the hyper-parameter file: a path relative to the YAML file, or a name to look for."""
    value = "" if data.get("hyp") is None else data["hyp"]
    if not isinstance(value, str):
        raise ConfigError(f"{file}: hyp is {value!r}, not a file", "write the path of a hyper-parameter YAML")
    beside = written_path(file.parent, value)
    return str(beside) if beside.is_file() else value


def _pixels(file: Path, data: dict) -> PixelFormat:
    """Return what the images are, by the keys ``channels`` (3: RGB) and ``bits`` (8)."""
    channels, bits = data.get("channels", RGB.channels), data.get("bits", RGB.bits)
    if type(channels) is not int or not 1 <= channels <= MAX_CHANNELS:
        raise ConfigError(f"{file}: channels is {channels!r}", f"write a whole number from 1 to {MAX_CHANNELS}")
    if type(bits) is not int or bits not in BITS:
        raise ConfigError(f"{file}: bits is {bits!r}", "write 8 or 16")
    return PixelFormat(channels, bits)


def _locate(root: Path, value: str) -> Path:
    """Return where a split lies; exporters that write ``../train/images`` often mean ``train/images``."""
    path, inside = written_path(root, _at_home(value)), _inside(root, value)
    return inside if inside.exists() and not path.exists() else path


def _inside(root: Path, value: str) -> Path:
    """Return where a split lies if its first ``../`` is not meant."""
    return written_path(root, re.sub(r"^\.\.[/\\]", "", _at_home(value)))


def _warn_of_two_places(file: Path, root: Path, values: dict[str, list[str]]) -> None:
    """Say where ``../train/images`` was found if ``train/images`` is there too, which exporters often mean."""
    for split in SPLITS:
        for value in values[split]:
            path, inside = _locate(root, value), _inside(root, value)
            if path != inside and inside.exists():
                where = f"{visible(value)} is {visible(path)}, although there is {visible(inside)} too"
                log.warning("%s: %s: %s", file, split, where)


def _missing(root: Path, values: dict[str, list[str]], required: Sequence[str]) -> list[tuple[str, str]]:
    """Return (split, value) of the required paths that do not exist."""
    return [(split, value) for split in required for value in values[split] if not _locate(root, value).exists()]


def _missing_error(file: Path, data: dict[str, Any], roots: list[Path], split: str, value: str) -> DataError:
    hint = data.get("download")
    if any(unicodedata.category(char) == "Cc" for char in value):
        fix = r"inside double quotes YAML takes \t, \v, … for one character; use single quotes, or / between folders"
    elif DRIVE.match(value) and os.name != "nt":
        fix = "a drive letter is a path of Windows; write where the images lie on this machine"
    elif isinstance(hint, str) and hint.startswith(("http://", "https://")) and "\n" not in hint.strip():
        fix = f"get the data from {hint.strip()} and put them into {visible(roots[0])}"
    elif hint:
        fix = f"put the data into {visible(roots[0])}; what the YAML has under download is never executed"
    else:
        fix = "correct path and the splits in the YAML, or put the data there"
    tried = visible(" and ".join(str(_locate(root, value)) for root in roots))
    return DataError(f"{visible(file)}: {split}: {visible(value)} does not exist (looked for {tried})", fix)


def _generate(file: Path, generator: Any, root: Path) -> None:
    if generator != "shapes":
        raise ConfigError(f"{file}: unknown generator {generator!r}", "the one generator is shapes")
    draw_shapes_dataset(root)
