"""What lies in the folders of the label files: labels without an image, and links in the place of label files."""

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from utils.data.image.read import IMAGE_SUFFIXES
from utils.data.scan.discovery import OUTSIDE_FIX, is_image_name, label_path, prefixes
from utils.errors import DataError
from utils.text import visible

log = logging.getLogger(__name__)

LISTS = frozenset({"_classes.txt", "classes.txt", "labels.txt", "test.txt", "train.txt", "val.txt"})  # no labels


class LabelFolders(NamedTuple):
    """The ``.txt`` files of these folders that call for a second look."""

    unclaimed: list[str]  # that belong to no image of the scan
    links: list[int]  # indices of the images whose label file is a link
    misnamed: list[str]  # that end in .TXT, and would be the label file of an image that has none


def list_label_folders(label_files: Sequence[str]) -> LabelFolders:
    """Look through the folders of the label files, without opening any of these."""
    index = {file: number for number, file in enumerate(label_files)}
    unclaimed, links, misnamed = [], [], []
    for folder in sorted({file.rpartition(os.sep)[0] for file in label_files}):
        try:
            entries = list(os.scandir(folder))
        except OSError:  # no labels there; what cannot be read is reported with its image
            continue
        for entry in entries:
            number = index.get(entry.path)
            if number is None:
                if entry.name.endswith(".txt"):
                    unclaimed.append(entry.path)
                elif entry.name.lower().endswith(".txt") and _stands_for(entry.path, index):
                    misnamed.append(entry.path)
            elif entry.is_symlink():
                links.append(number)
    return LabelFolders(sorted(unclaimed), sorted(links), sorted(misnamed))


def _stands_for(path: str, index: Mapping[str, int]) -> bool:
    """True for a file whose name differs from that of a label file, which does not exist, in upper case alone."""
    label_file = path[: -len(".txt")] + ".txt"
    return label_file in index and not os.path.exists(label_file)  # noqa: PTH110


def check_suffixes(misnamed: Sequence[str]) -> None:
    """Raises: DataError for label files that are not read, so that their images would teach that nothing is there."""
    if misnamed:
        what = f"{visible(misnamed[0])}: label files end in .txt, {len(misnamed)} of these in upper case"
        raise DataError(what, "rename them, or their images would be backgrounds")


def warn_of_orphans(images: Sequence[str], unclaimed: Sequence[str], suffixes: Collection[str]) -> None:
    """Say how many label files have no image at all; see ``find_orphans``."""
    orphans = find_orphans(images, unclaimed, suffixes)
    if orphans:
        log.warning("%d label files have no image, the first is %s", len(orphans), visible(orphans[0]))


def find_orphans(
    images: Sequence[str], unclaimed: Sequence[str], suffixes: Collection[str] = IMAGE_SUFFIXES
) -> list[str]:
    """Return the label files without an image; those of images that the scan was not asked for are none.

    Names of images end in one of ``suffixes``.
    """
    if not unclaimed:
        return []
    image_folders = {image.rpartition(os.sep)[0] for image in images}
    existing = {
        label_path(entry.path)
        for folder in image_folders
        for entry in os.scandir(folder)
        if is_image_name(entry.name, suffixes)
    }
    return [
        file
        for file in unclaimed
        if file not in existing and (name := file.rpartition(os.sep)[2].lower()) not in LISTS and name[:6] != "readme"
    ]


def check_links(images: Sequence[str], label_files: Sequence[str], links: Sequence[int], fence: Sequence[Path]) -> None:
    """Check that label files that are links lead into the folders of the ``fence``, or to the label of the same image.

    Folders that are links are nothing special. Raises: DataError naming the first link that leads elsewhere.
    """
    inside = prefixes(fence)
    outside = []
    for number in links:
        label, target = label_files[number], os.path.realpath(label_files[number])
        own = label_path(os.path.realpath(images[number])), os.path.realpath(label.rpartition(os.sep)[0]) + os.sep
        if target != own[0] and not target.startswith((*inside, own[1])):
            outside.append(label)
    if outside:
        what = f"{len(outside)} label files are links that leave the folders of the data set"
        raise DataError(f"{what}; the first is {visible(outside[0])}", OUTSIDE_FIX)
