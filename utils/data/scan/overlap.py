"""Find the pictures that training and validation share, which make the figures of validation too good."""

import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from utils.data.scan.scan_result import ScanResult
from utils.text import counted, visible

log = logging.getLogger(__name__)

TAIL_BYTES = 4096  # of files of one size are compared first: different pictures end differently


def warn_of_overlap(train: ScanResult, val: ScanResult) -> None:
    """Say how many pictures of ``val`` are in ``train`` too: the same file, or one of the same content."""
    if set(train.image_paths) == set(val.image_paths):
        log.warning(
            "train and val are the same %s: the validation says nothing about pictures that were not trained on",
            counted(len(val), "image"),
        )
        return
    shared = list(_shared(train, val))
    if shared:
        log.warning(
            "%d of %s of val are in train too, the first is %s: the validation will look too good",
            len(shared),
            counted(len(val), "image"),
            visible(shared[0]),
        )


def _shared(train: ScanResult, val: ScanResult) -> Iterator[str]:
    """Yield the images of ``val`` that ``train`` has; content is read only where size and shape are equal."""
    others = defaultdict(list)
    for path, shape in zip(train.image_paths, map(tuple, train.shapes.tolist()), strict=True):
        others[_size(path), shape].append(path)
    digests: dict[tuple[str, bool], bytes] = {}
    for path, shape in zip(val.image_paths, map(tuple, val.shapes.tolist()), strict=True):
        candidates = others.get((_size(path), shape), ())
        if any(_equal(path, other, digests) for other in candidates):
            yield path


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:  # it has vanished since the scan, and training will say so
        return -1


def _equal(one: str, other: str, digests: dict[tuple[str, bool], bytes]) -> bool:
    """True for one file, and for files of one size with the same content."""
    if one == other:
        return True
    for whole in (False, True):
        for path in (one, other):
            if (path, whole) not in digests:
                digests[path, whole] = _digest(path, whole)
        if digests[one, whole] != digests[other, whole]:
            return False
    return True


def _digest(path: str, whole: bool) -> bytes:
    try:
        with open(path, "rb") as file:
            if not whole:
                file.seek(max(file.seek(0, os.SEEK_END) - TAIL_BYTES, 0))
            return hashlib.sha256(file.read()).digest()
    except OSError:
        return path.encode(errors="surrogateescape")  # equal to nothing else
