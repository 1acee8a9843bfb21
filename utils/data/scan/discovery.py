"""Find the images of a data set, and the label file that belongs to an image."""

import logging
import os
import re
from collections.abc import Collection, Hashable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from utils.data.image.read import ARRAY_SUFFIX, IMAGE_SUFFIXES
from utils.data.scan.voc_lists import IMAGES, images_of_ids, is_voc_folder, voc_root
from utils.errors import DataError
from utils.text import visible

log = logging.getLogger(__name__)

CVAT_PREFIX = re.compile(r"(?:\.[/\\])?data[/\\]")
OUTSIDE_FIX = "set path in the data-set YAML to a folder that holds them, or allow_outside: true if you trust the data"


def find_images(
    sources: Sequence[str | Path], fence: Sequence[Path] | None = None, suffixes: Collection[str] = IMAGE_SUFFIXES
) -> list[str]:
    """Return the images of folders (searched recursively) and list files as sorted absolute paths.

    Of a Pascal VOC data set these are the photographs, and its lists have ids (see ``voc_lists``).

    Images are files whose names end in one of ``suffixes``. Hidden files are left out, links are followed, and each
    real file is returned once. Raises: DataError, also where entries of a list leave the folders of the ``fence``.
    """
    found = [file for source in sources for file in _files_of(Path(source).absolute(), fence, suffixes)]
    first: dict[Hashable, str] = {}
    for file in sorted(found):
        first.setdefault(file.identity, file.path)
    if len(first) < len(found):
        log.warning("%d paths lead to images that were already found, and are left out", len(found) - len(first))
    if not first:
        places = ", ".join(str(Path(source).absolute()) for source in sources)
        arrays = "" if ARRAY_SUFFIX in suffixes else f", {ARRAY_SUFFIX} where the YAML has channels other than 3"
        raise DataError(f"no images in {places}", f"images are files ending in {' '.join(sorted(suffixes))}{arrays}")
    return sorted(first.values())


def label_path(image: str) -> str:
    """Return the label file of an image: the last ``/images/`` becomes ``/labels/``, the suffix ``.txt``."""
    inside, outside = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"
    return outside.join(image.rsplit(inside, 1)).rpartition(".")[0] + ".txt"


def read_list_file(path: Path, fence: Sequence[Path] | None = None) -> list[tuple[int, Path]]:
    """Return (line number, path) of every entry of a text file with one path per line.

    Entries are relative to the list file (see ``written_path``); blank lines and lines that start with # are left out.
    Raises: DataError, also for entries that leave all folders of a ``fence``, which the list's own folder belongs to.
    """
    found = [(number, _entry_path(path.parent, entry)) for number, entry in _entries(path)]
    if fence is not None:
        inside = prefixes([path.parent, *fence])
        outside = [(number, entry) for number, entry in found if not str(entry).startswith(inside)]
        if outside:
            number, entry = outside[0]
            what = f"{len(outside)} of {len(found)} entries leave the data set; the first is {visible(entry)}"
            raise DataError(f"{visible(path)}:{number}: {what}", OUTSIDE_FIX)
    return found


def _entries(path: Path) -> list[tuple[int, str]]:
    """Return (line number, text) of the lines of a list file."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start})", "write one path per line") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})", "check the path and its permissions") from error
    entries = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
    return [(number, entry) for number, entry in entries if entry and entry[0] != "#"]


def prefixes(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return what paths in these folders begin with, as they are named and as they really are."""
    names = dict.fromkeys(name for folder in folders for name in (str(folder), os.path.realpath(folder)))
    return tuple(name.rstrip(os.sep) + os.sep for name in names)


def written_path(folder: Path, text: str) -> Path:
    """Return the path that a text in a file means, relative to ``folder``, without ``..``; links stay.

    A backslash separates folders, as on Windows, unless the path exists as written.
    """
    path = Path(os.path.normpath(folder / text))
    if "\\" not in text or path.exists():
        return path
    return Path(os.path.normpath(folder / text.replace("\\", "/")))


def _entry_path(folder: Path, entry: str) -> Path:
    """Return the path of a list's entry; where nothing lies there, without the ``data/`` that CVAT writes in front."""
    path = written_path(folder, entry)
    if not CVAT_PREFIX.match(entry) or path.exists():
        return path
    inside = written_path(folder, CVAT_PREFIX.sub("", entry, count=1))
    return inside if inside.exists() else path


def is_image_name(name: str, suffixes: Collection[str] = IMAGE_SUFFIXES) -> bool:
    _, dot, suffix = name.rpartition(".")
    return not name.startswith(".") and (dot + suffix).lower() in suffixes


class _File(NamedTuple):
    """A path; sorting puts links behind what they lead to."""

    is_link: bool
    path: str
    identity: Hashable  # equal for paths that lead to one file


def _files_of(source: Path, fence: Sequence[Path] | None, suffixes: Collection[str]) -> Iterator[_File]:
    if source.is_dir():
        yield from _walk(str(source), suffixes)
    elif source.is_file() and (root := voc_root(source)):
        for path in images_of_ids(source, root, _entries(source), suffixes):
            yield _File(Path(path).is_symlink(), path, _identity(Path(path)))
    elif source.is_file():
        for _, entry in read_list_file(source, fence):
            if is_image_name(entry.name, suffixes):
                yield _File(entry.is_symlink(), str(entry), _identity(entry))
    else:
        raise DataError(f"{source}: no such folder or list file", "correct the path in the data-set YAML")


def _walk(root: str, suffixes: Collection[str]) -> Iterator[_File]:
    """Yield the images below a folder; every real folder is entered once, under its own name rather than a link's."""
    folders, links, seen = [root], [], set()
    while folders or links:
        folder = folders.pop() if folders else links.pop()
        identity = _identity(Path(folder))
        if identity in seen:
            continue
        seen.add(identity)
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            raise DataError(f"{folder}: cannot be listed ({error.strerror})", "check its permissions") from error
        if is_voc_folder({entry.name for entry in entries}):
            entries = [entry for entry in entries if entry.name == IMAGES]
        images = []
        for entry in entries:
            if entry.is_dir():
                if not entry.name.startswith("."):
                    (links if entry.is_symlink() else folders).append(entry.path)
            elif is_image_name(entry.name, suffixes):
                images.append(entry)
        yield from _told_apart(images, identity)


def _told_apart(images: Sequence[os.DirEntry], folder: Hashable) -> Iterator[_File]:
    """Yield the images of a folder, by the inodes of its listing, or by asking for each where these are not to trust.

    Some file systems list other numbers than they give on asking: many of FUSE one and the same for all files, layers
    of a container those of several disks.
    """
    files = [entry for entry in images if not entry.is_symlink()]
    is_trusted = False
    if files and isinstance(folder, tuple):
        inodes = {entry.inode() for entry in files}
        is_trusted = len(inodes) == len(files) and _identity(Path(files[0])) == (folder[0], files[0].inode())
    for entry in images:
        is_link = entry.is_symlink()
        known = is_trusted and not is_link
        yield _File(is_link, entry.path, (folder[0], entry.inode()) if known else _identity(Path(entry)))


def _identity(path: Path) -> Hashable:
    """Return (device, inode) of a file or folder, its path where that is not known."""
    try:
        facts = path.stat()
    except OSError:  # a link to nothing; the scan reports it
        return str(path)
    return (facts.st_dev, facts.st_ino) if facts.st_ino else str(path)
