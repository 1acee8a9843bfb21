"""A folder in which something is made before it is moved into place, and what killed programs have left of theirs.

A folder belongs to a living program as long as its lock file is locked, which ends with the program however it ends.
"""

import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.file_lock import try_lock

log = logging.getLogger(__name__)

LOCK = "lock"
CONTENT = frozenset({LOCK, "new", "old"})  # a folder that holds anything else is somebody's own
YOUNG_S = 2  # a folder that was made just now may not be locked yet
UNSURE_S = 86400  # after which a folder is left over where locks do not tell


@contextmanager
def draft_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside ``target``, for ``new`` and ``old`` things, which is removed at the end."""
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=_prefix(target)))
    try:
        with open(folder / LOCK, "w") as lock:
            try_lock(lock)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_left_overs(target: Path) -> None:
    """Remove the folders beside ``target`` that belong to no living program."""
    try:
        folders = [entry for entry in target.parent.iterdir() if entry.name.startswith(_prefix(target))]
    except OSError:
        return
    for folder in folders:
        if folder.is_dir() and not folder.is_symlink() and _is_left_over(folder):
            log.info("removing %s, which a program has left that did not end well", folder)
            shutil.rmtree(folder, ignore_errors=True)


def _prefix(target: Path) -> str:
    return f".{target.name}-"


def _is_left_over(folder: Path) -> bool:
    try:
        age = time.time() - folder.stat().st_mtime
        if not CONTENT.issuperset(entry.name for entry in folder.iterdir()):
            return False
        with open(folder / LOCK, "r+") as lock:
            free = try_lock(lock)
    except FileNotFoundError:
        free = True  # killed before it locked, or of a version that did not
    except OSError:
        return False  # not ours
    return age > UNSURE_S if free is None else free and age > YOUNG_S
