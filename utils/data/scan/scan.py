"""Scan a data set: find its images, verify them and their labels, report what is wrong.

The data set is only read; the result is cached elsewhere (``scan_cache``). What is bad is left out and listed, as long
as it is little.
"""

import logging
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from utils.data.image.read import image_suffixes
from utils.data.scan.annotations import Annotations
from utils.data.scan.check_files import verify_files
from utils.data.scan.class_matching import left_out_text
from utils.data.scan.foreign_labels import foreign_labels
from utils.data.scan.scan_cache import Table, cache_file, facts_digest, load_table, store_table, unpack
from utils.data.scan.scan_result import Problem, ScanResult, show
from utils.data.scan.sources import entries_of, find_annotations
from utils.data.scan.spec import DataSpec
from utils.errors import DataError
from utils.pixels import RGB, PixelFormat
from utils.text import counted, visible

log = logging.getLogger(__name__)

MAX_BAD_IMAGES = 0.10
MAX_BAD_ROWS = 0.01
TOLERATED_ROWS = 10  # so many bad rows never stop a small data set
LOGGED_PROBLEMS = 5


def scan_dataset(
    sources: Sequence[str | Path],
    names: Mapping[int, str],
    *,
    root: Path | None = None,
    fence: Sequence[Path] | None = None,
    max_bad_images: float = MAX_BAD_IMAGES,
    max_bad_rows: float = MAX_BAD_ROWS,
    pixels: PixelFormat = RGB,
    annotations: Sequence[Annotations] | None = None,
) -> ScanResult:
    """Return the images and labels of folders, list files and COCO files, from the cache where no file has changed.

    ``names`` are the classes by id; ``root`` is a folder that the images of COCO files may be named from.

    Images are read as ``pixels``. Entries of lists and links in the place of label files may not leave the folders of
    the ``fence``, if there is one. Who has called ``find_annotations`` gives what it returned.
    Raises: DataError then; when more than the given shares of the images or label rows (and over ten rows) are bad; for
    a class id outside 0…nc-1; for two images with one label file; and when nothing is labelled.
    """
    if annotations is None:
        annotations = find_annotations(sources, names, root, fence, image_suffixes(pixels))
    entries = entries_of(annotations)
    images = [entry.image for entry in entries]
    files = chain(images, *(source.files for source in annotations))
    facts = "\0".join([str(pixels), *(source.facts for source in annotations)])
    file, digest = cache_file(sources), facts_digest(files, facts)
    table = load_table(file, digest)
    cached = table is not None
    if table is None:
        log.info("scanning %s", counted(len(images), "image"))
        table = verify_files(entries, annotations, len(names), pixels)
        store_table(file, digest, table)
    result = _result(images, table, cached, pixels)
    log.info("%s", result.summary())
    _check_limits(result, max_bad_images, max_bad_rows)
    if not len(table["labels"]):
        raise _no_labels(annotations, result, images)
    _tell(result)
    return result


def scan_split(spec: DataSpec, paths: Sequence[Path], annotations: Sequence[Annotations] | None = None) -> ScanResult:
    """Return the images and labels of a split of a data set, ``paths``. Raises: as ``scan_dataset``."""
    return scan_dataset(
        paths, spec.names, root=spec.root, fence=spec.fence, pixels=spec.pixels, annotations=annotations
    )


def split_annotations(spec: DataSpec, paths: Sequence[Path]) -> list[Annotations]:
    """Return who tells what is in the images of a split. Raises: as ``find_annotations``."""
    return find_annotations(paths, spec.names, spec.root, spec.fence, image_suffixes(spec.pixels))


def _no_labels(annotations: Sequence[Annotations], result: ScanResult, images: Sequence[str]) -> DataError:
    what = f"none of the {len(images)} images has a label"
    if result.left_out:
        fix = f"write classes that the data have into names: {left_out_text(result.left_out)}"
        return DataError(f"{what} of the classes in names", fix)
    if result.dropped_rows:
        return DataError(f"{what} that makes sense\n{show(result.problems)}", "correct these")
    if regions := sum(map(len, result.ignored)):
        what += f", but {counted(regions, 'region')} in which nothing counts"
        return DataError(what, "see whether iscrowd of COCO, or difficult of Pascal VOC, is meant")
    first = next((source.files[0] for source in annotations if source.files[0].endswith(".txt")), None)
    if first is None:
        return DataError(what, "label some, or leave this split out")
    if found := foreign_labels(images[0]):
        return DataError(f"{what} that is read: {found[0]}", found[1])
    if result.empty:
        return DataError(f"{what}: {counted(result.empty, 'label file')} without a row", "label some of the images")
    fix = "put the labels where the last /images/ of a path becomes /labels/ and the suffix .txt"
    return DataError(f"{what}; the first label file would be {first}", fix)


def _result(images: list[str], table: Table, cached: bool, pixels: PixelFormat) -> ScanResult:
    counts = table["counts"].tolist()
    ends = np.cumsum(table["counts"]).tolist()
    tallies = unpack(table["tallies"])
    polygons = _split(table["points"], table["corners"])
    return ScanResult(
        image_paths=[images[index] for index in table["kept"]],
        labels=_split(table["labels"], table["counts"]),
        shapes=table["shapes"],
        ignored=_split(table["ignored"], table["ignored_counts"]),
        segments=[polygons[end - count : end] for end, count in zip(ends, counts, strict=True)],
        unreadable=len(images) - len(table["kept"]),
        problems=[Problem(*problem) for problem in unpack(table["problems"])],
        repairs=[Problem(*repair) for repair in unpack(table["repairs"])],
        cached=cached,
        pixels=pixels,
        **tallies | {"paged": [images[index] for index in tallies["paged"]]},
    )


def _tell(result: ScanResult) -> None:
    """Log what is not read, or not as it is in the files."""
    if result.deep:
        log.warning(
            "%s of 16 bits: the upper 8 of each value are read; 'bits: 16' in the data-set YAML keeps all",
            counted(result.deep, "image"),
        )
    if result.paged:
        log.warning(
            "%s of several grey pages, as %s: the first page of each is read; if the pages are the channels of one "
            "image, say how many with 'channels' in the data-set YAML",
            *(counted(len(result.paged), "image"), visible(result.paged[0])),
        )
    if result.left_out:
        log.warning("left out, because names does not have them: %s", left_out_text(result.left_out))
    for problem in result.problems[:LOGGED_PROBLEMS]:
        log.warning("left out: %s", problem)
    if len(result.problems) > LOGGED_PROBLEMS:
        log.warning("left out: %d more", len(result.problems) - LOGGED_PROBLEMS)


def _split(rows: np.ndarray, counts: np.ndarray) -> list:
    """Return consecutive groups of rows, as views; the empty ones are one object, because there may be a million."""
    nothing = rows[:0]
    ends = np.cumsum(counts).tolist()
    return [rows[end - count : end] if count else nothing for end, count in zip(ends, counts.tolist(), strict=True)]


def _check_limits(result: ScanResult, max_bad_images: float, max_bad_rows: float) -> None:
    images = len(result) + result.unreadable
    rows = sum(map(len, result.labels)) + result.duplicates + result.dropped_rows
    limits = (
        ("images cannot be used", result.unreadable, images, max_bad_images, 0),
        ("label rows are wrong", result.dropped_rows, rows, max_bad_rows, TOLERATED_ROWS),
    )
    for what, bad, total, limit, tolerated in limits:
        if bad > max(limit * total, tolerated):
            raise DataError(
                f"{bad} of {total} {what} (limit {limit:.0%})\n{show(result.problems)}", "correct or remove these"
            )
