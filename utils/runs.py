"""Run folders (runs/train/exp, exp2, …), atomic files, and where caches live."""

import errno
import functools
import logging
import os
import secrets
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from utils.errors import ConfigError, StorageError
from utils.file_lock import try_lock

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]  # the clone
CACHE_NAME = "yolo-backbones"
RUNS = "runs/train/*/weights/best.pt"
LOCK = ".lock"  # of a run folder, with the number of the process that has it
CLOCK_SKEW_S = 60.0
RETRY_S = (0.1, 0.2, 0.3, 0.4)  # a second in all, for virus scanners to let go of a file on Windows
UNLOCKED_S = 1.0  # age from which a temporary file without a lock is abandoned: between two calls it has none yet
ABANDONED_S = 3600.0  # the same where there are no locks
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# ESTALE: of network disks
NOT_WRITABLE = FULL | {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EISDIR, errno.ESTALE}


def new_run_dir(project: str | Path, name: str, exist_ok: bool = False) -> Path:
    """Create and return ``project/name``, or ``name2``, ``name3``, … where that is taken, without a race.

    ``project`` is relative to the current folder; the path returned is absolute, for messages to name it whole.
    What killed runs have left of unfinished files in the folders of the project is removed.
    """
    project = Path(project).absolute()
    first = project / name
    for folder in (*project.glob("*/"), *project.glob("*/weights/")):
        remove_leftovers(folder)
    for candidate in _candidates(first):
        try:
            candidate.mkdir(parents=True, exist_ok=exist_ok)
        except FileExistsError:
            if exist_ok:
                raise ConfigError(
                    f"{candidate}: is a file, not a folder", "choose another --project or --name"
                ) from None
            continue
        except OSError as error:
            raise StorageError(
                f"{candidate}: cannot make this folder ({error.strerror})", "choose a --project that you may write to"
            ) from error
        return candidate
    raise AssertionError("unreachable: the candidates never end")


def _candidates(first: Path) -> Iterator[Path]:
    yield first
    number = 2
    while True:
        yield first.with_name(f"{first.name}{number}")
        number += 1


@contextmanager
def atomic_write(path: str | Path, previous: str | Path | None = None, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is synced to disk and renamed, on failure removed.

    Without ``sync`` it is whole after a crash of the program, not of the machine: for thousands of files that can be
    made again, each of which the disk would take 5 to 20 ms for.
    The file that was there remains as ``previous``, a path beside it, where one is given: one of both is there at every
    moment. A lock on the temporary file lasts as long as it is written, also where the process is killed (see
    ``remove_leftovers``).
    Raises: StorageError when the disk is full, read-only or failing, the folder is gone, or another program holds the
    file; the old one is intact.
    """
    path = Path(path)
    temporary = None
    try:
        with writable(path):
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=f".tmp{path.suffix}")
            temporary = Path(name)
            with _locked(handle):
                yield temporary
                _publish(temporary, path, None if previous is None else Path(previous), sync)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Raises: StorageError in place of an OSError that says that the file or folder cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno not in NOT_WRITABLE and path.parent.is_dir():
            raise
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> StorageError:
    fix = "choose another folder"
    if error.errno == errno.EISDIR:
        fix = f"move that folder away, or {fix}"
    elif error.errno in FULL:
        fix = f"free some space, or {fix}"
    elif isinstance(error, PermissionError):
        fix = f"close the programs that have it open, or {fix}"
    return StorageError(f"{path}: cannot be written ({error.strerror})", fix)


@contextmanager
def _locked(handle: int) -> Iterator[None]:
    """Keep an open file locked; Windows, which renames no open file, goes without."""
    if sys.platform == "win32":
        os.close(handle)
        yield
        return
    try:
        try_lock(handle)
        yield
    finally:
        os.close(handle)


def remove_leftovers(folder: Path, stem: str = "*") -> None:
    """Remove the unfinished files of ``stem`` that killed processes have left, not those that are still written."""
    for file in folder.glob(f".{stem}.????????.tmp*"):  # as ``atomic_write`` names them
        if _is_abandoned(file):
            with suppress(OSError):  # another process was faster
                file.unlink()
                log.info("removed %s, left over by a process that was ended", file)


_remove_leftovers_once = functools.cache(remove_leftovers)  # per process: a cache may hold many thousand files


def _is_abandoned(file: Path) -> bool:
    try:
        age = time.time() - file.stat().st_mtime
        with file.open("rb") as opened:
            free = try_lock(opened)
    except OSError:  # gone, or not ours
        return False
    if sys.platform == "win32":
        return age > ABANDONED_S
    return bool(free) and age > UNLOCKED_S


def _publish(temporary: Path, path: Path, previous: Path | None, sync: bool) -> None:
    mask = os.umask(0)
    os.umask(mask)
    temporary.chmod(0o666 & ~mask)  # mkstemp's 0600 would hide results from other users
    if sync:
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
    if previous is not None and path.exists():
        _keep(path, previous)
    _replace(temporary, path)
    if sync and sys.platform != "win32":  # where a folder cannot be opened, and need not be
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _keep(path: Path, previous: Path) -> None:
    """Give the file of ``path`` the name ``previous`` too; without hard links, as on exFAT, instead."""
    second = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.tmp{path.suffix}")  # as ``remove_leftovers`` knows
    with _locked(os.open(path, os.O_RDONLY)):  # the second name too; else a run that starts now would remove it
        try:
            os.link(path, second)
        except OSError:
            second = path
        try:
            _replace(second, previous)
        finally:
            if second != path:  # renaming does nothing where a killed run has left both names on one file
                second.unlink(missing_ok=True)


def _replace(temporary: Path, path: Path) -> None:
    """Rename, again for about a second while Windows says that another program has one of the two open."""
    for wait in RETRY_S:
        try:
            temporary.replace(path)
            return
        except PermissionError:
            time.sleep(wait)
    temporary.replace(path)


def cache_dir(*parts: str) -> Path:
    """Return (and make) a folder for caches, outside the clone and outside every data set. Raises: StorageError."""
    fix = "set XDG_CACHE_HOME to a folder that you may write to"
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = base.joinpath(CACHE_NAME, *parts)
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers_once(folder)
    except RuntimeError as error:
        raise StorageError(f"no folder for caches: {error}", fix) from error
    except OSError as error:
        raise StorageError(f"{folder}: cannot make this folder for caches ({error.strerror})", fix) from error
    return folder


def write_text(path: str | Path, text: str, sync: bool = True) -> None:
    """Write a UTF-8 text file atomically, as ``atomic_write``."""
    with atomic_write(path, sync=sync) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sync_all() -> None:
    """Have the disk take all that was written without ``sync``; Windows does so in its own time."""
    if hasattr(os, "sync"):
        os.sync()


def lock_folder(folder: Path) -> IO[str]:
    """Return an open file that holds the lock of a folder until ``unlock``, or until the process ends.

    Raises: ConfigError where another process has it; StorageError.
    """
    try:
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise _no_file_in(folder, error) from error
    if try_lock(file) is False:
        file.seek(0)
        owner = file.read().strip()
        file.close()
        raise ConfigError(f"{folder}: in use by process {owner}", "wait for it, or choose another --name")
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def make_writable(folder: Path) -> None:
    """Make a folder unless it is there. Raises: StorageError where no file can be made in it."""
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _no_file_in(folder, error) from error


def _no_file_in(folder: Path, error: OSError) -> StorageError:
    what = f"{folder}: no file can be made in it ({error.strerror})"
    return StorageError(what, "make it writable, or work in another folder")


def newest(pattern: str, folder: Path) -> Path | None:
    """Return the file of a folder that was written last; a time in the future says nothing and counts as long ago."""
    limit = time.time() + CLOCK_SKEW_S
    times = {file: file.stat().st_mtime for file in folder.glob(pattern)}
    return max(times, key=lambda file: (times[file] <= limit, times[file]), default=None)


def newest_weights() -> Path:
    """Return the best checkpoint of the newest training run in the current folder, and log which.

    Raises: ConfigError if there is none; it names that of the clone where this was started from elsewhere.
    """
    path = newest(RUNS, Path.cwd())
    if path is None:
        other = newest(RUNS, ROOT)
        fix = f"--weights {shlex.quote(str(other))}, or start in {ROOT}" if other else "train first, or name a file"
        raise ConfigError(f"no --weights given, and there is no {Path.cwd() / RUNS}", fix)
    log.info("weights: %s (newest training run)", path)
    return path
