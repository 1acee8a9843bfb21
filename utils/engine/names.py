"""Names of output files: each is safe as one path component, and no two are alike."""

import itertools
import logging
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from utils.data.sources import Frame

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


def frame_label(frame: Frame) -> str:
    """Return what to call an image in the log."""
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
