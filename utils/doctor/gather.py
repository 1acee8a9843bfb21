"""Gather the facts about a data set, however bad it is: the one place where the doctor meets the scan."""

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from utils.data.image.read import ImageError
from utils.data.scan.check_files import Outcome, class_fix, verify_file
from utils.data.scan.discovery import find_images, label_path
from utils.data.scan.label_folders import find_orphans, list_label_folders
from utils.data.scan.scan import scan_dataset
from utils.data.scan.scan_result import Problem
from utils.data.scan.spec import SPLITS, DataSpec
from utils.doctor.facts import Facts, Picture
from utils.doctor.pixels import Pixels, read_pixels
from utils.errors import DataError
from utils.progress import progress_bar

THREADS = 4  # that read and decode; more would wait for the same cores


@dataclass
class _Split:
    images: list[str] = field(default_factory=list)
    label_files: list[str] = field(default_factory=list)
    refusal: DataError | None = None


def gather_facts(spec: DataSpec, imgsz: int) -> Facts:
    """Return what the files of all splits say, each picture decoded once. The data set is only read."""
    splits = {split: _list_split(spec, split) for split in SPLITS if getattr(spec, split)}
    pairs = dict.fromkeys(
        pair for split in splits.values() for pair in zip(split.images, split.label_files, strict=True)
    )
    pool = ThreadPoolExecutor(THREADS)
    try:
        seen = pool.map(lambda pair: _examine(*pair, spec.nc), pairs)
        with progress_bar(_Sized(seen, len(pairs)), f"{'pictures':>22}", stays=False) as outcomes:
            known = dict(zip(pairs, outcomes, strict=True))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest
    claimed = {file for split in splits.values() for file in split.label_files}
    return _facts(spec, imgsz, splits, known, [file for file in _orphans(splits) if file not in claimed])


class _Sized:
    """An iterator of known length, as the progress bar needs one."""

    def __init__(self, items: Iterator, length: int) -> None:
        self.items, self.length = items, length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator:
        return self.items


def _list_split(spec: DataSpec, split: str) -> _Split:
    sources = getattr(spec, split)
    result = _Split()
    try:
        result.images = find_images(sources, spec.fence)
        result.label_files = [label_path(image) for image in result.images]
        with _quiet_scan():
            scan_dataset(sources, spec.nc, fence=spec.fence)
    except DataError as error:
        result.refusal = error
    return result


@contextmanager
def _quiet_scan() -> Iterator[None]:
    """Keep back what the scan logs, all of which the findings say again."""
    logger = logging.getLogger("utils.data.scan")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _examine(image: str, label_file: str, nc: int) -> tuple[Outcome, Pixels | None]:
    outcome = verify_file(image, label_file, nc)
    if outcome.shape is None:
        return outcome, None
    try:
        return outcome, read_pixels(image)[0]
    except (ImageError, OSError) as error:
        reason = error.reason if isinstance(error, ImageError) else str(error.strerror)
        return Outcome(problems=[*outcome.problems, Problem(image, 0, reason)]), None


def _orphans(splits: dict[str, _Split]) -> Iterable[str]:
    orphans = {}
    for split in splits.values():
        folders = list_label_folders(split.label_files)
        orphans |= dict.fromkeys(find_orphans(split.images, folders.unclaimed))
    return orphans


def _facts(spec: DataSpec, imgsz: int, splits: dict[str, _Split], known: dict, orphans: list[str]) -> Facts:
    pictures, rows, lines, owners = [], [], [], []
    for name, split in splits.items():
        for pair in zip(split.images, split.label_files, strict=True):
            outcome, pixels = known[pair]
            rows += outcome.rows.boxes
            lines += outcome.rows.lines
            owners += [len(pictures)] * len(outcome.rows.boxes)
            pictures.append(Picture(*pair, name, outcome.shape, outcome.has_file, pixels))
    outcomes = [outcome for outcome, _ in known.values()]
    bad_classes = [problem for outcome in outcomes for problem in outcome.bad_classes]
    table = np.array(rows, np.float64).reshape(-1, 5)
    files = [(pair[1], outcome) for pair, (outcome, _) in known.items()]
    return Facts(
        spec=spec,
        imgsz=imgsz,
        pictures=pictures,
        boxes=table[:, 1:],
        classes=table[:, 0].astype(np.int64),
        owners=np.array(owners, np.int64),
        lines=np.array(lines, np.int64),
        problems=[problem for outcome in outcomes for problem in outcome.problems],
        bad_classes=bad_classes,
        class_fix=class_fix(outcomes, spec.nc) if bad_classes else "",
        repairs=[Problem(file, *repair) for file, outcome in files for repair in outcome.rows.repairs],
        orphans=orphans,
        refusals={name: split.refusal for name, split in splits.items() if split.refusal},
    )
