"""The folder that a command makes, and the data-set YAML in it."""

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from utils.data.scan.spec import SPLITS, DataSpec
from utils.errors import ConfigError, StorageError
from utils.pixels import RGB
from utils.runs import atomic_write, make_writable, sync_all
from utils.yaml_file import write_yaml

log = logging.getLogger(__name__)

YAML = "data.yaml"  # is written last: a folder without it is unfinished


def check_out(out: str) -> Path:
    """Return the absolute folder to write into. Raises: ConfigError unless it is new or empty."""
    if not out:
        raise ConfigError("--out is missing", "name the folder to make")
    folder = Path(out).absolute()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {out}: is a file", "name a folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"--out {out}: is not empty", "name another folder, or remove this one")
    return folder


def check_beside(folder: Path, spec: DataSpec) -> None:
    """Raises: ConfigError for a folder whose images the data set would have as its own from then on."""
    for place in (path for split in SPLITS for path in getattr(spec, split)):
        if place.is_dir() and folder.resolve().is_relative_to(place.resolve()):
            what = f"--out {folder}: lies among the images of the data set, in {place}"
            raise ConfigError(what, "name a folder beside it")


@contextmanager
def making(folder: Path) -> Iterator[None]:
    """Make the folder that the body fills; where that does not come to its end, say so."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made ({error.strerror})", "choose another --out") from error
    make_writable(folder)
    try:
        yield
        sync_all()
    except BaseException:
        log.warning("%s is unfinished: remove it before you try again", folder)
        raise


def place_image(source: str, target: Path, how: str) -> None:
    """Put an image where a data set wants it, ``how`` is copy or link. Raises: StorageError."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if how == "link":
            target.symlink_to(source)
        else:
            with atomic_write(target, sync=False) as temporary:
                shutil.copyfile(source, temporary)
    except OSError as error:
        fix = ("try --images copy, or " if how == "link" else "") + "choose another --out"
        raise StorageError(f"{target}: cannot be made ({error.strerror})", fix) from error


def write_data_yaml(folder: Path, spec: DataSpec, root: Path | None, splits: Mapping[str, Any]) -> None:
    """Write data.yaml for the splits, paths as text, with all else that the YAML of ``spec`` says."""
    data: dict[str, Any] = ({"path": str(root)} if root else {}) | dict(splits)
    data["names"] = dict(spec.names)
    if spec.pixels != RGB:
        data |= {"channels": spec.pixels.channels, "bits": spec.pixels.bits}
    if spec.hyp:
        data["hyp"] = spec.hyp
    if spec.allow_outside:
        data["allow_outside"] = True
    write_yaml(folder / YAML, data)
