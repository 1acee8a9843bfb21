"""The layout of a Pascal VOC data set: JPEGImages, Annotations, and lists of ids below ImageSets."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from utils.data.image.read import IMAGE_SUFFIXES
from utils.errors import DataError
from utils.text import visible

IMAGES, LISTS = "JPEGImages", "ImageSets"
ANNOTATIONS = ("Annotations", "annotations")


def is_voc_folder(names: Collection[str]) -> bool:
    """True where the names of a folder's entries are those of a VOC data set, whose other images are no photographs."""
    return IMAGES in names and not names.isdisjoint(ANNOTATIONS)


def voc_root(list_file: Path) -> Path | None:
    """Return the data set that a list of ids belongs to, None for any other list."""
    root = next((folder.parent for folder in list_file.parents if folder.name == LISTS), None)
    return root if root and (root / IMAGES).is_dir() else None


def images_of_ids(
    list_file: Path, root: Path, entries: Collection[tuple[int, str]], suffixes: Collection[str] = IMAGE_SUFFIXES
) -> Iterator[str]:
    """Yield the image, whose name ends in one of ``suffixes``, of each id; one that is not there as it would be called.

    Raises: DataError for what is no id, and for a list of one class, whose second column tells which images show it.
    """
    folder = str(root / IMAGES)
    stems = {}
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 - names are enough
        stem, suffix = os.path.splitext(name)  # noqa: PTH122
        if suffix.lower() in suffixes:
            stems.setdefault(stem, name)
            stems.setdefault(name, name)
    for number, entry in entries:
        if len(entry.split()) > 1 and entry not in stems:
            what = f"{visible(list_file)}:{number}: {visible(entry)!r}: a list of one class, with a second column"
            raise DataError(what, "give a list of ids alone, such as train.txt")
        if "/" in entry or "\\" in entry or entry in (".", ".."):
            what = f"{visible(list_file)}:{number}: {visible(entry)!r} is not the id of an image"
            raise DataError(what, f"write ids of the images in {IMAGES}, without folder and suffix")
        yield folder + os.sep + stems.get(entry, f"{entry}.jpg")
