"""Keep the result of a data-set scan outside the data set, valid as long as no file of the set has changed.

The file is a plain .npz of flat arrays, read without pickle. What it was made from is stored inside as a digest of
paths, sizes, times and inodes. A cache that is missing, outdated or damaged is simply not used.
"""

import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import StorageError
from utils.runs import atomic_write, cache_dir

log = logging.getLogger(__name__)

VERSION = 7  # raise when the rules of the scan or the arrays change

Table = dict[str, np.ndarray]


def cache_file(sources: Sequence[str | Path]) -> Path | None:
    """Return where the scan of these folders and list files is kept; None where the user has no cache folder."""
    places = [str(Path(source).absolute()) for source in sources]
    digest = hashlib.sha256("\0".join(places).encode(errors="surrogateescape")).hexdigest()
    try:
        return cache_dir("labels") / f"{Path(places[0]).stem}-{digest[:16]}.npz"
    except StorageError as error:
        log.info("the scan is not cached: %s", error.what)
        return None


def facts_digest(paths: Iterable[str], facts: str) -> str:
    """Return a digest that changes when one of the files appears, vanishes or changes, or with the ``facts``."""
    digest = hashlib.sha256(f"{VERSION} {facts}".encode(errors="surrogateescape"))
    for path in paths:
        digest.update(f"\0{path}\0{_facts(path)}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _facts(path: str) -> str:
    try:
        stat = os.stat(path)  # noqa: PTH116 - making a Path takes longer than the call
    except OSError:
        return ""
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"


def load_table(file: Path | None, digest: str) -> Table | None:
    """Return the arrays stored under this digest, or None."""
    if file is None:
        return None
    try:
        with np.load(file, allow_pickle=False) as arrays:
            if str(arrays["digest"]) != digest:
                return None
            return {name: arrays[name] for name in arrays.files if name != "digest"}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.debug("%s is not used: %s", file, error)
        return None


def store_table(file: Path | None, digest: str, table: Table) -> None:
    """Store the arrays; where that is impossible, say so and go on: the next start scans again."""
    if file is None:
        return
    try:
        with atomic_write(file) as temporary:
            np.savez(temporary, digest=np.array(digest), **table)
    except (OSError, StorageError) as error:
        log.info("the scan is not cached: %s", error)


def pack(value: object) -> np.ndarray:
    """Return plain data as an array of bytes, so that it can lie among the arrays; ``unpack`` undoes it."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def unpack(array: np.ndarray) -> Any:
    return json.loads(array.tobytes())
