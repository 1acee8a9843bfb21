"""Verify every image and label file of a data set, and gather what they say in flat arrays."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from utils.data.image.read import ImageError, image_facts, open_regular, why
from utils.data.scan.label_file import BOX_COLUMNS, NO_POLYGON, LabelRows, parse_labels
from utils.data.scan.scan_cache import Table, pack
from utils.data.scan.scan_result import Problem, show
from utils.errors import DataError
from utils.pixels import RGB, PixelFormat

MIN_SIDE = 10  # pixels; what is smaller is an icon or a tracking dot
CHUNK = 256  # images per task


@dataclass
class Outcome:
    """What became of one image: ``shape`` (height, width) is None where it cannot be used."""

    shape: tuple[int, int] | None = None
    bits: int = 8
    rows: LabelRows = field(default_factory=LabelRows)
    has_file: bool = False
    problems: list[Problem] = field(default_factory=list)
    bad_classes: list[Problem] = field(default_factory=list)


def verify_files(images: list[str], label_files: list[str], nc: int, workers: int, pixels: PixelFormat = RGB) -> Table:
    """Return the flat arrays that describe a data set (see ``_table``).

    Threads wait for the disk side by side. Raises: DataError listing every class id outside 0…nc-1.
    """
    starts = range(0, len(images), CHUNK)

    def verify_chunk(start: int) -> list[Outcome]:
        part = slice(start, start + CHUNK)
        return [verify_file(*pair, nc, pixels) for pair in zip(images[part], label_files[part], strict=True)]

    with ThreadPoolExecutor(max(workers, 1)) as pool:
        outcomes = [outcome for chunk in pool.map(verify_chunk, starts) for outcome in chunk]
    bad_classes = [problem for outcome in outcomes for problem in outcome.bad_classes]
    if bad_classes:
        raise DataError(
            f"{len(bad_classes)} label rows name a class that does not exist\n{show(bad_classes)}",
            class_fix(outcomes, nc),
        )
    return _table(outcomes, pixels)


def class_fix(outcomes: list[Outcome], nc: int) -> str:
    """Return what to do about class ids outside 0…nc-1, which some tools count from 1."""
    ids = {box[0] for outcome in outcomes for box in outcome.rows.boxes}.union(*(o.rows.bad_ids for o in outcomes))
    if (min(ids), max(ids)) != (1, nc):
        return "correct these rows, or names in the data-set YAML"
    return (
        f"no row has class 0 and the largest is {nc}, so these labels seem to count from 1, and YOLO's count from 0: "
        "subtract 1 from the class of every row, or put a name for class 0 in front of names in the data-set YAML"
    )


def verify_file(image: str, label_file: str, nc: int, pixels: PixelFormat = RGB) -> Outcome:
    """Read the header of an image and its labels; what is wrong with them is in the outcome."""
    try:
        shape, bits = image_facts(image, pixels)
    except ImageError as error:
        return Outcome(problems=[Problem(image, 0, error.reason)])
    if min(shape) < MIN_SIDE:
        return Outcome(problems=[Problem(image, 0, f"{shape[1]}×{shape[0]} pixels; a side must have {MIN_SIDE}")])
    try:
        with open_regular(label_file) as file:
            text = file.read().decode("utf-8-sig")
    except FileNotFoundError:
        return Outcome(shape, bits)
    except OSError as error:  # without its labels the image would teach that nothing is there
        return Outcome(problems=[Problem(label_file, 0, why(error))])
    except UnicodeDecodeError:
        return Outcome(problems=[Problem(label_file, 0, "not UTF-8 text")])
    rows = parse_labels(text, nc, shape)
    return Outcome(
        shape,
        bits,
        rows,
        has_file=True,
        problems=[Problem(label_file, *problem) for problem in rows.bad_rows],
        bad_classes=[Problem(label_file, *problem) for problem in rows.bad_classes],
    )


def _table(outcomes: list[Outcome], pixels: PixelFormat) -> Table:
    """Return ``kept`` (N,) indices of the usable images, ``shapes`` (N, 2), ``counts`` (N,) label rows of each,
    ``labels`` (T, 5), ``corners`` (T,) polygon points of each row, ``points`` (P, 2), ``tallies`` and ``problems``.
    """
    kept = [index for index, outcome in enumerate(outcomes) if outcome.shape is not None]
    used = [outcomes[index] for index in kept]
    boxes = [box for outcome in used for box in outcome.rows.boxes]
    polygons = [polygon for outcome in used for polygon in outcome.rows.polygons]
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    tallies = {
        "found": sum(outcome.has_file for outcome in used),
        "missing": sum(not outcome.has_file for outcome in used),
        "empty": sum(outcome.has_file and not outcome.rows.boxes for outcome in used),
        "dropped_rows": sum(len(outcome.rows.bad_rows) for outcome in used),
        "duplicates": sum(outcome.rows.duplicates for outcome in used),
        "deep": sum(outcome.bits > pixels.bits for outcome in used),
        "rounded": sum(outcome.rows.rounded for outcome in used),
    }
    return {
        "kept": np.array(kept, np.int64),
        "shapes": np.array([outcome.shape for outcome in used], np.int32).reshape(-1, 2),
        "counts": np.array([len(outcome.rows.boxes) for outcome in used], np.int64),
        "labels": np.array(boxes, np.float32).reshape(-1, BOX_COLUMNS),
        "corners": np.array([len(polygon) for polygon in polygons], np.int64),
        "points": np.concatenate([NO_POLYGON, *polygons]),
        "tallies": pack(tallies),
        "problems": pack(problems),
    }
