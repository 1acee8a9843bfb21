"""Gather the facts about a data set, however bad it is: the one place where the doctor meets the scan."""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.data.image.read import ImageError, image_suffixes
from utils.data.scan.annotations import Annotations, Outcome, Reader
from utils.data.scan.check_files import class_fix, verify
from utils.data.scan.coco_file import is_coco_file
from utils.data.scan.discovery import find_images, label_path
from utils.data.scan.label_folders import find_orphans, list_label_folders
from utils.data.scan.scan import scan_split, split_annotations
from utils.data.scan.scan_result import Problem
from utils.data.scan.spec import SPLITS, DataSpec
from utils.data.scan.voc import VocAnnotations
from utils.data.scan.voc_files import xml_orphans
from utils.data.scan.yolo import YoloAnnotations
from utils.doctor.facts import Facts, Picture
from utils.doctor.pixels import Pixels, read_pixels
from utils.errors import DataError
from utils.pixels import PixelFormat
from utils.progress import progress_bar
from utils.quiet import quiet

THREADS = 4  # that read and decode; more would wait for the same cores


class _Item(NamedTuple):
    """An image, the file that tells what is in it, and who reads that."""

    image: str
    file: str  # the image itself where one file tells of all
    source: int
    index: int


@dataclass
class _Split:
    sources: list[Annotations] = field(default_factory=list)
    items: list[_Item] = field(default_factory=list)
    refusal: DataError | None = None


def gather_facts(spec: DataSpec, imgsz: int) -> Facts:
    """Return what the files of all splits say, each picture decoded once. The data set is only read."""
    splits = {split: _list_split(spec, split) for split in SPLITS if getattr(spec, split)}
    items: dict[tuple[str, str], tuple[Reader, int]] = {}
    astray: list[Problem] = []
    for split in splits.values():
        readers = [source.reader() for source in split.sources]
        astray += [problem for reader in readers for problem in reader.problems]
        for item in split.items:
            items.setdefault((item.image, item.file), (readers[item.source], item.index))
    pool = ThreadPoolExecutor(THREADS)
    try:
        seen = pool.map(lambda pair: _examine(pair[0], *items[pair], spec.pixels), items)
        with progress_bar(_Sized(seen, len(items)), f"{'pictures':>22}", stays=False) as outcomes:
            known = dict(zip(items, outcomes, strict=True))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest
    claimed = {item.file for split in splits.values() for item in split.items}
    orphans = [file for file in _orphans(splits, image_suffixes(spec.pixels)) if file not in claimed]
    facts = _facts(spec, imgsz, splits, known, orphans)
    return replace(facts, bad_rows=list(dict.fromkeys([*astray, *facts.bad_rows])))


class _Sized:
    """An iterator of known length, as the progress bar needs one."""

    def __init__(self, items: Iterator, length: int) -> None:
        self.items, self.length = items, length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator:
        return self.items


def _list_split(spec: DataSpec, split: str) -> _Split:
    result = _Split()
    try:
        with quiet(logging.ERROR, "utils.data.scan"):  # the findings say it again
            result.sources, refusal = _sources(spec, getattr(spec, split))
            result.items = sorted(_items(result.sources))
            if refusal:
                raise refusal
            scan_split(spec, getattr(spec, split), result.sources)
    except DataError as error:
        result.refusal = error
    return result


def _sources(spec: DataSpec, paths: Sequence[Path]) -> tuple[list[Annotations], DataError | None]:
    """Return who tells what is in the images; where training would refuse them all, the label files, and why."""
    try:
        return split_annotations(spec, paths), None
    except DataError as error:
        folders = [path for path in paths if not is_coco_file(path)]
        images = find_images(folders, spec.fence, image_suffixes(spec.pixels)) if folders else []
        return [YoloAnnotations(images, [label_path(image) for image in images], spec.nc)], error


def _items(sources: Sequence[Annotations]) -> Iterator[_Item]:
    for number, source in enumerate(sources):
        files = source.files if len(source.files) == len(source.images) else source.images
        for index, (image, file) in enumerate(zip(source.images, files, strict=True)):
            yield _Item(image, file, number, index)


def _examine(image: str, reader: Reader, index: int, format_: PixelFormat) -> tuple[Outcome, Pixels | None]:
    outcome = verify(image, reader, index, format_)
    if outcome.shape is None:
        return outcome, None
    try:
        return outcome, read_pixels(image, format_)[0]
    except (ImageError, OSError) as error:
        reason = error.reason if isinstance(error, ImageError) else str(error.strerror)
        return Outcome(problems=[*outcome.problems, Problem(image, 0, reason)]), None


def _orphans(splits: dict[str, _Split], suffixes: Collection[str]) -> Iterable[str]:
    orphans = {}
    for source in (source for split in splits.values() for source in split.sources):
        if isinstance(source, YoloAnnotations):
            folders = list_label_folders(source.files)
            orphans |= dict.fromkeys(find_orphans(source.images, folders.unclaimed, suffixes))
        elif isinstance(source, VocAnnotations):
            orphans |= dict.fromkeys(xml_orphans(source.files, suffixes))
    return orphans


def _facts(spec: DataSpec, imgsz: int, splits: dict[str, _Split], known: dict, orphans: list[str]) -> Facts:
    pictures, rows, lines, owners = [], [], [], []
    for name, split in splits.items():
        for pair in ((item.image, item.file) for item in split.items):
            outcome, pixels = known[pair]
            rows += [tuple(box) for box in outcome.rows.boxes]
            lines += outcome.rows.lines or [0] * len(outcome.rows.boxes)  # only label files have lines
            owners += [len(pictures)] * len(outcome.rows.boxes)
            pictures.append(Picture(*pair, name, outcome.shape, outcome.has_file, pixels))
    outcomes = [outcome for outcome, _ in known.values()]
    bad_classes = [problem for outcome in outcomes for problem in outcome.bad_classes]
    table = np.array(rows, np.float64).reshape(-1, 5)
    return Facts(
        spec=spec,
        imgsz=imgsz,
        pictures=pictures,
        boxes=table[:, 1:],
        classes=table[:, 0].astype(np.int64),
        owners=np.array(owners, np.int64),
        lines=np.array(lines, np.int64),
        problems=[problem for outcome in outcomes if outcome.shape is None for problem in outcome.problems],
        left_out=Counter(name for outcome in outcomes for name in outcome.left_out),
        bad_rows=[problem for outcome in outcomes if outcome.shape is not None for problem in outcome.problems],
        bad_classes=bad_classes,
        class_fix=class_fix(outcomes, spec.nc) if bad_classes else "",
        repairs=[repair for outcome in outcomes for repair in outcome.repairs],
        orphans=orphans,
        refusals={name: split.refusal for name, split in splits.items() if split.refusal},
    )
