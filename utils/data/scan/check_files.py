"""Verify every image of a data set and what is said to be in it, and gather that in flat arrays."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np

from utils.data.image.read import ImageError, image_facts
from utils.data.scan.annotations import Annotations, Entry, Outcome, Reader
from utils.data.scan.label_file import BOX_COLUMNS, NO_POLYGON
from utils.data.scan.scan_cache import Table, pack
from utils.data.scan.scan_result import Problem, show
from utils.errors import DataError
from utils.pixels import RGB, PixelFormat
from utils.text import counted

MIN_SIDE = 10  # pixels; what is smaller is an icon or a tracking dot
NO_ROWS = np.zeros((0, BOX_COLUMNS))
CHUNK = 256  # images per task
THREADS = 8  # that wait for the disk


def verify_files(entries: Sequence[Entry], sources: Sequence[Annotations], nc: int, pixels: PixelFormat = RGB) -> Table:
    """Return the flat arrays that describe a data set (see ``_table``).

    Threads wait for the disk side by side. Raises: DataError listing every class id outside 0…nc-1.
    """
    readers = [source.reader() for source in sources]
    starts = range(0, len(entries), CHUNK)

    def verify_chunk(start: int) -> list[Outcome]:
        part = entries[start : start + CHUNK]
        return [verify(image, readers[source], index, pixels) for image, source, index in part]

    with ThreadPoolExecutor(THREADS) as pool:
        outcomes = [outcome for chunk in pool.map(verify_chunk, starts) for outcome in chunk]
    bad_classes = [problem for outcome in outcomes for problem in outcome.bad_classes]
    if bad_classes:
        raise DataError(
            f"{counted(len(bad_classes), 'label row')} of a class that does not exist\n{show(bad_classes)}",
            class_fix(outcomes, nc),
        )
    return _table(outcomes, [problem for reader in readers for problem in reader.problems], pixels)


def class_fix(outcomes: list[Outcome], nc: int) -> str:
    """Return what to do about class ids outside 0…nc-1, which some tools count from 1."""
    ids = {box[0] for outcome in outcomes for box in outcome.rows.boxes}.union(*(o.rows.bad_ids for o in outcomes))
    if (min(ids), max(ids)) != (1, nc):
        return "correct these rows, or names in the data-set YAML"
    return (
        f"no row has class 0 and the largest is {nc}, so these labels seem to count from 1, and YOLO's count from 0: "
        "subtract 1 from the class of every row, or put a name for class 0 in front of names in the data-set YAML"
    )


def verify(image: str, reader: Reader, index: int, pixels: PixelFormat = RGB) -> Outcome:
    """Read the header of an image and its labels; what is wrong with them is in the outcome."""
    try:
        shape, bits, pages = image_facts(image, pixels)
    except ImageError as error:
        return Outcome(problems=[Problem(image, 0, error.reason)])
    if min(shape) < MIN_SIDE:
        return Outcome(problems=[Problem(image, 0, f"{shape[1]}×{shape[0]} pixels; a side must have {MIN_SIDE}")])
    outcome = reader(index, shape)
    outcome.bits, outcome.pages = bits, pages
    return outcome


def _table(outcomes: list[Outcome], problems: list[Problem], pixels: PixelFormat) -> Table:
    """Return ``kept`` (N,) indices of the usable images, ``shapes`` (N, 2), ``counts`` (N,) label rows of each,
    ``labels`` (T, 5), ``corners`` (T,) polygon points of each row, ``points`` (P, 2), ``ignored`` (K, 5) regions that
    are no labels and ``ignored_counts`` (N,) of them, ``tallies``, ``problems`` and ``repairs``.
    """
    kept = [index for index, outcome in enumerate(outcomes) if outcome.shape is not None]
    used = [outcomes[index] for index in kept]
    polygons = [polygon for outcome in used for polygon in outcome.rows.polygons]
    tallies = {
        "found": sum(outcome.has_file for outcome in used),
        "missing": sum(not outcome.has_file for outcome in used),
        "empty": sum(outcome.has_file and not len(outcome.rows.boxes) for outcome in used),
        "dropped_rows": sum(len(outcome.rows.bad_rows) for outcome in used) + len(problems),
        "duplicates": sum(outcome.rows.duplicates for outcome in used),
        "deep": sum(outcome.bits > pixels.bits for outcome in used),
        "paged": [index for index in kept if outcomes[index].pages > 1],
        "rounded": sum(outcome.rows.rounded for outcome in used),
        "clipped": sum(outcome.rows.clipped for outcome in used),
        "left_out": Counter(name for outcome in used for name in outcome.left_out),
    }
    return {
        "kept": np.array(kept, np.int64),
        "shapes": np.array([outcome.shape for outcome in used], np.int32).reshape(-1, 2),
        "counts": np.array([len(outcome.rows.boxes) for outcome in used], np.int64),
        "labels": _rows([outcome.rows.boxes for outcome in used]),
        "corners": np.array([len(polygon) for polygon in polygons], np.int64),
        "points": np.concatenate([NO_POLYGON, *polygons], dtype=np.float32, casting="same_kind"),
        "ignored": _rows([outcome.rows.ignored for outcome in used]),
        "ignored_counts": np.array([len(outcome.rows.ignored) for outcome in used], np.int64),
        "tallies": pack(tallies),
        "problems": pack([*problems, *chain.from_iterable(outcome.problems for outcome in outcomes)]),
        "repairs": pack([repair for outcome in used for repair in outcome.repairs]),
    }


def _rows(of_images: list[Sequence[Sequence[float]] | np.ndarray]) -> np.ndarray:
    """Return the rows of all images as one table (T, 5) float32."""
    tables = [np.asarray(rows, np.float64) for rows in of_images if len(rows)]
    return np.concatenate([NO_ROWS, *tables]).astype(np.float32)
