"""Names of outputs: each is safe as one path component, and no two are alike.

Several inputs can have one name, ``cam_a/0001.jpg`` and ``cam_b/0001.jpg``. Ids, and names that are given when all
inputs are known, are then their paths below the folder that they share, ``cam_a/0001``, whatever their order.
"""

import hashlib
import itertools
import logging
import os
import re
import unicodedata
from collections.abc import Collection, Mapping
from pathlib import Path, PurePath

from utils.data.sources import Frame
from utils.text import distinct

log = logging.getLogger(__name__)

FORBIDDEN = frozenset('/\\:*?"<>|')  # on one of the common file systems
WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE)
MAX_BYTES = 100
STEM_BYTES = 180  # leaves room for frame numbers, suffixes and the marks of temporary files


def safe_name(text: str, max_bytes: int = MAX_BYTES) -> str:
    """Return any text as a file name: separators and invisible characters become ``_``, and ``..`` does too.

    What Windows takes for a device, such as ``CON`` or ``aux.txt``, gets a ``_`` in front.
    """
    normal = unicodedata.normalize("NFC", text)
    shown = "".join("_" if char in FORBIDDEN or unicodedata.category(char)[0] == "C" else char for char in normal)
    if WINDOWS_DEVICE.match(shown):
        shown = f"_{shown}"
    short = shown.encode()[:max_bytes].decode(errors="ignore")
    return short if short.strip(". ") else "_" * max(len(short), 1)


def injective_name(text: str) -> str:
    """Return ``safe_name``, with a fingerprint of the text behind it where another text could have the same."""
    name = safe_name(text)
    return name if name == text else f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def below_common_folder(paths: Collection[str]) -> dict[str, str]:
    """Return each path relative to the deepest folder that holds all of them, with ``/`` between the folders."""
    try:
        common = os.path.commonpath({str(PurePath(path).parent) for path in paths})
    except ValueError:  # none, or several drives
        return {path: PurePath(path).as_posix() for path in paths}
    return {path: PurePath(path).relative_to(common).as_posix() for path in paths}


def image_ids(paths: Collection[str]) -> dict[str, int | str]:
    """Return the id of each image in COCO's JSON: the number that the file is named after, or its name without suffix.

    Where images share that number or name, each has its path below their common folder, ``cam_a/0001``, and with the
    suffix where that is still shared. The ids of a set of images depend neither on their order nor on their batches.
    """
    below = below_common_folder(paths)
    return distinct({path: (_number_or_stem(path), _no_suffix(short), short) for path, short in below.items()})


def _number_or_stem(path: str) -> int | str:
    stem = PurePath(path).stem
    return int(stem) if stem.isdecimal() else stem


def _no_suffix(path: str) -> str:
    return PurePath(path).with_suffix("").as_posix()


def distinct_files(paths: Collection[str]) -> dict[str, str]:
    """Return the name of each file, or its path below their common folder where another has the same name."""
    return distinct({path: (PurePath(path).name, short) for path, short in below_common_folder(paths).items()})


def output_stems(paths: Collection[str]) -> dict[str, str]:
    """Return a file name without suffix for each image: its own, or ``cam_a_0001`` where another has the same."""
    below, unique = below_common_folder(paths), UniqueNames()
    stems = distinct({path: (PurePath(path).stem, _no_suffix(short), short) for path, short in below.items()})
    return {path: unique.claim(safe_name(stems[path], STEM_BYTES)) for path in sorted(stems)}


def frame_label(frame: Frame) -> str:
    """Return what to call an image in the log."""
    if frame.is_stream:
        return f"stream {frame.index + 1}/{frame.count} ({frame.frame_number + 1}) {frame.path}"
    if frame.is_video:
        return f"video {frame.index + 1}/{frame.count} ({frame.frame_number + 1}/{frame.frame_count}) {frame.path}"
    return f"image {frame.index + 1}/{frame.count} {frame.path}"


def class_folders(names: Mapping[int, str]) -> dict[int, str]:
    """Return a folder name per class; where two would be alike, the class id is appended."""
    folders: dict[int, str] = {}
    taken: set[str] = set()
    for class_id, name in names.items():
        folder = safe_name(name)
        while folder.lower() in taken:
            folder = f"{folder}_{class_id}"
        taken.add(folder.lower())
        folders[class_id] = folder
    return folders


class UniqueNames:
    """Hands out names, never one twice; upper and lower case count as the same."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}  # so that thousands of equal names cost no search each

    def claim(self, name: str) -> str:
        """Return ``name``, or ``name-2``, ``name-3``, … where that is taken."""
        key = name.lower()
        for number in itertools.count(self._next.get(key, 1)):
            candidate = name if number == 1 else f"{name}-{number}"
            if candidate.lower() not in self._taken:
                break
        self._next[key] = number + 1
        self._taken.add(candidate.lower())
        return candidate


class OutputNames:
    """Gives each source file one name, shared by all writers; files of the same stem get different ones."""

    def __init__(self) -> None:
        self._unique = UniqueNames()
        self._stems: dict[str, str] = {}

    def stem(self, frame: Frame) -> str:
        """Return the name of the whole file, without suffix."""
        path = str(frame.path)
        if path not in self._stems:
            own = safe_name(Path(path).stem, STEM_BYTES)
            stem = self._unique.claim(own)
            while frame.is_video and self._is_frame_of(stem):
                stem = self._unique.claim(own)
            if stem != own:
                log.info("%s: its outputs are called %s, because %s is taken", path, stem, own)
            self._stems[path] = stem
        return self._stems[path]

    def of(self, frame: Frame) -> str:
        """Return the name of this image: for a video with the number of the frame, from 1."""
        return f"{self.stem(frame)}_{frame.frame_number + 1}" if frame.is_video else self.stem(frame)

    def _is_frame_of(self, stem: str) -> bool:
        """True where an image is called like a frame of the video ``stem``."""
        pattern = re.compile(re.escape(stem) + r"_\d+", re.IGNORECASE)
        return any(pattern.fullmatch(other) for other in self._stems.values())
