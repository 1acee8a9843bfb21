"""Find Pascal VOC's XML files, and the images that its lists of ids name.

The file of an image lies in the folder Annotations beside the image's folder, or beside the image, as LabelImg has it.
"""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from utils.data.image.read import IMAGE_SUFFIXES
from utils.data.scan.discovery import OUTSIDE_FIX, is_image_name, prefixes
from utils.data.scan.voc_lists import ANNOTATIONS
from utils.errors import DataError
from utils.text import visible


def xml_files(images: Sequence[str]) -> dict[str, str]:
    """Return the XML file of each image that has one; no file is opened."""
    listed: dict[str, list[tuple[str, dict[str, str]]]] = {}  # folder of images → places with the files there
    for folder in {image.rpartition(os.sep)[0] for image in images}:
        parent = folder.rpartition(os.sep)[0]
        places = [folder, *(parent + os.sep + name for name in ANNOTATIONS)]
        listed[folder] = [(place, files) for place in places if (files := _xml_names(place))]
    found: dict[str, str] = {}
    for image in images if any(listed.values()) else ():
        folder, _, name = image.rpartition(os.sep)
        stem = name.rpartition(".")[0]
        file = next((place + os.sep + files[stem] for place, files in listed[folder] if stem in files), None)
        if file is not None:
            found[image] = file
    return found


def _xml_names(folder: str) -> dict[str, str]:
    """Return the XML files in a folder by stem; of ``a.XML`` and ``a.xml`` the latter."""
    try:
        return {name[:-4]: name for name in sorted(os.listdir(folder)) if name[-4:].lower() == ".xml"}  # noqa: PTH208
    except OSError:
        return {}


def xml_orphans(files: Collection[str], suffixes: Collection[str] = IMAGE_SUFFIXES) -> list[str]:
    """Return the XML files beside these that belong to no image, whether or not it is of the split.

    Names of images end in one of ``suffixes``.
    """
    orphans = []
    for place in sorted({file.rpartition(os.sep)[0] for file in files}):
        parent, _, name = place.rpartition(os.sep)
        folders = [entry.path for entry in os.scandir(parent) if entry.is_dir()] if name in ANNOTATIONS else [place]
        images = (name for folder in folders for name in os.listdir(folder) if is_image_name(name, suffixes))  # noqa: PTH208
        stems = {image.rpartition(".")[0] for image in images}
        orphans += [place + os.sep + file for stem, file in _xml_names(place).items() if stem not in stems]
    return orphans


def check_xml_links(files: Sequence[str], fence: Sequence[Path]) -> None:
    """Raises: DataError naming the first XML file that is a link out of the folders of the ``fence``."""
    inside = prefixes(fence)
    outside = [
        file
        for file in files
        if os.path.islink(file)  # noqa: PTH114 - making a Path takes longer than the call
        and not os.path.realpath(file).startswith((*inside, os.path.realpath(file.rpartition(os.sep)[0]) + os.sep))
    ]
    if outside:
        what = f"{len(outside)} annotation files are links that leave the folders of the data set"
        raise DataError(f"{what}; the first is {visible(outside[0])}", OUTSIDE_FIX)
