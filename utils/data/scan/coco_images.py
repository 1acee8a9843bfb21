"""Find the image files that a COCO file names: it tells their names, and seldom where they lie."""

import os
from collections.abc import Sequence
from pathlib import Path

from utils.data.scan.coco_file import CocoIndex
from utils.data.scan.discovery import OUTSIDE_FIX, prefixes
from utils.errors import DataError
from utils.text import visible

SAMPLES = 20  # images by which the folder is chosen


def coco_images(index: CocoIndex, root: Path | None, fence: Sequence[Path] | None) -> list[str]:
    """Return the path of each image, below the first folder in which they lie.

    Raises: DataError where they lie in none, for an image that is listed twice, and for a name that leads out of the
    folders of the ``fence``.
    """
    if not index.names:
        raise DataError(f"{visible(index.path)}: lists no images", "give a file that lists some under images")
    names = [name if os.sep == "\\" else name.replace("\\", "/") for name in index.names]
    folder = _folder(index.path, names, root)
    base = str(folder) + os.sep
    # most names are plain, and a million of them are joined in a moment
    paths = [base + name if _is_plain(name) else os.path.normpath(folder / name) for name in names]
    if fence is not None:
        _check_inside(index, paths, prefixes([folder, index.path.parent, *fence]))
    first: dict[str, int] = {}
    for number, path in enumerate(paths):
        other = first.setdefault(path, number)
        if other != number:
            ids = f"image ids {index.image_ids[other]} and {index.image_ids[number]}"
            what = f"{visible(index.path)}: {ids} are the same file {visible(index.names[number])}"
            raise DataError(what, "list each image once, and give its annotations that image_id")
    return paths


def candidates(path: Path, root: Path | None) -> list[Path]:
    """Return the folders in which the images of ``instances_train2017.json`` may lie, in the order of the search."""
    stem, here = path.stem, path.parent
    ends = list(dict.fromkeys(filter(None, (stem.partition("_")[2], stem.rpartition("_")[2], stem))))
    found = [here]
    for place in dict.fromkeys(filter(None, (root, here, here.parent))):
        found += [place, place / "images", *(place / end for end in ends), *(place / "images" / end for end in ends)]
    return list(dict.fromkeys(found))


def _folder(path: Path, names: Sequence[str], root: Path | None) -> Path:
    step = max(len(names) // SAMPLES, 1)
    samples, best, most = names[::step][:SAMPLES], path.parent, 0
    places = candidates(path, root)
    for place in places:
        count = sum((place / name).is_file() for name in samples) if place.is_dir() else 0
        if count > most:
            best, most = place, count
        if count == len(samples):
            break
    if not most:
        tried = ", ".join(visible(place) for place in places if place.is_dir())
        what = f"{visible(path)}: its images, such as {visible(samples[0])}, are nowhere (looked for in {tried})"
        raise DataError(what, "set path in the data-set YAML to the folder that their names are relative to")
    return best


def _is_plain(name: str) -> bool:
    return name[0] != "/" and "./" not in name and "//" not in name and ":" not in name


def _check_inside(index: CocoIndex, paths: Sequence[str], inside: tuple[str, ...]) -> None:
    outside = [number for number, path in enumerate(paths) if not path.startswith(inside)]
    if outside:
        first = visible(index.names[outside[0]])
        what = f"{len(outside)} of {len(paths)} images lie outside the data set; the first is {first}"
        raise DataError(f"{visible(index.path)}: {what}", OUTSIDE_FIX)
