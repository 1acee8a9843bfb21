"""Find a file that a user names: as a path, or by name in one of the folders of the clone."""

from collections.abc import Sequence
from pathlib import Path

from utils.errors import ConfigError
from utils.registry import suggest
from utils.runs import ROOT


def find_file(name: str | Path, folder: str | Path, suffixes: Sequence[str], *, subfolders: bool = True) -> Path:
    """Return ``name`` if it exists, else the one file in ``folder`` of the clone whose path ends in it.

    The suffix may be left out; ``subfolders`` are searched too, unless they hold files of another kind. Raises:
    ConfigError when there is none or more than one, or for another suffix.
    """
    path = Path(name)
    if path.is_file():
        if path.suffix not in suffixes:
            raise ConfigError(f"{path}: the suffix must be {' or '.join(suffixes)}", f"give a {suffixes[0]} file")
        return path
    pattern = "**/*" if subfolders else "*"
    known = sorted(file for file in (ROOT / folder).glob(pattern) if file.suffix in suffixes)
    found = [file for file in known if path.parts and _ends_in(file, path)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"{name}: several files have this name: {', '.join(map(str, found))}", "give the whole path")
    stems = [file.stem for file in known]
    hint = suggest(path.stem, stems) or f"give the path of a file, or one of these names: {', '.join(stems)}"
    raise ConfigError(f"{name}: no such file, nor one of that name in {folder}", hint)


def _ends_in(file: Path, tail: Path) -> bool:
    count = len(tail.parts)
    return tail.parts in (file.parts[-count:], file.with_suffix("").parts[-count:])
