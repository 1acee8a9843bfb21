"""Read the images of a split with all that is said of them, and name them in a new data set."""

import os
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from utils.data.scan.check_files import verify
from utils.data.scan.label_file import LabelRows
from utils.data.scan.scan import scan_split, split_annotations
from utils.data.scan.sources import entries_of
from utils.data.scan.spec import DataSpec

THREADS = 8  # that wait for the disk side by side
NONCHARACTERS = "\ufffe\uffff"
UNFIT = {"Cc", "Cs", "Zl", "Zp"}  # categories of characters that no list, JSON or XML holds as they are


@dataclass(frozen=True)
class Item:
    """An image with its rows, in float64 as they were read."""

    image: str  # absolute path
    shape: tuple[int, int]  # (height, width)
    rows: LabelRows
    has_labels: bool  # something speaks of it, even if it says that nothing is there


def read_items(spec: DataSpec, paths: Sequence[Path]) -> list[Item]:
    """Return the usable images of a split, sorted by path. Raises: DataError as training would."""
    sources = split_annotations(spec, paths)
    scan_split(spec, paths, sources)
    readers = [source.reader() for source in sources]
    entries = entries_of(sources)
    with ThreadPoolExecutor(THREADS) as pool:
        outcomes = pool.map(lambda each: verify(each.image, readers[each.source], each.index, spec.pixels), entries)
        return [
            Item(entry.image, outcome.shape, outcome.rows, outcome.has_file)
            for entry, outcome in zip(entries, outcomes, strict=True)
            if outcome.shape is not None
        ]


def new_names(images: Sequence[str]) -> list[str]:
    """Return for each image its path below the folder that holds all, in letters that every format has.

    No two differ in their suffix alone, which one label file would belong to.
    """
    parents = [os.path.dirname(image) for image in images]  # noqa: PTH120
    root = os.path.commonpath(parents)
    names: dict[str, str] = {}  # without suffix → name
    for image in images:
        stem, suffix = os.path.splitext("/".join(map(_fit, Path(image).relative_to(root).parts)))  # noqa: PTH122
        _put(names, stem, suffix)
    return list(names.values())


def flat_names(images: Sequence[str]) -> list[str]:
    """Return ``new_names`` without folders."""
    names: dict[str, str] = {}
    for name in new_names(images):
        _put(names, *os.path.splitext(name.replace("/", "_")))  # noqa: PTH122
    return list(names.values())


def _put(names: dict[str, str], stem: str, suffix: str) -> None:
    number, own = 2, stem
    while own in names:
        number, own = number + 1, f"{stem}_{number}"
    names[own] = own + suffix


def _fit(part: str) -> str:
    """Return a name of a file or folder that is not hidden, nor a remark in a list."""
    part = "".join(char if char != "\\" and is_held(char) else "_" for char in part).strip()
    return f"_{part}" if part.startswith((".", "#")) or not part else part


def is_held(text: str) -> bool:
    """Return whether lists, JSON and XML can hold a text as it is."""
    return not any(unicodedata.category(char) in UNFIT or char in NONCHARACTERS for char in text)
