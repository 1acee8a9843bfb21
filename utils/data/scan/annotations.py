"""The contract of those who know what is in the images of a data set: label files, a COCO file, Pascal VOC's files.

Each is found by ``sources``; what it reads is checked and gathered by ``check_files``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from utils.data.scan.label_file import LabelRows
from utils.data.scan.scan_result import Problem


@dataclass
class Outcome:
    """What became of one image: ``shape`` (height, width) is None where it cannot be used."""

    shape: tuple[int, int] | None = None
    rows: LabelRows = field(default_factory=LabelRows)
    has_file: bool = False  # something speaks of this image, even if it says that nothing is there
    problems: list[Problem] = field(default_factory=list)
    bad_classes: list[Problem] = field(default_factory=list)
    repairs: list[Problem] = field(default_factory=list)  # rows that are used, clipped, or are there already
    left_out: list[str] = field(default_factory=list)  # class of each object that the data set has no name for
    bits: int = 8  # of a value in the image's file
    pages: int = 1  # of the image's file that look like channels, where the first alone is read


class Reader(Protocol):
    """Reads the labels of one image after another, from several threads at once."""

    problems: list[Problem]  # labels that belong to no image

    def __call__(self, index: int, shape: tuple[int, int]) -> Outcome:
        """Return the labels of ``images[index]``, whose file has ``shape`` (height, width)."""
        ...


class Annotations(Protocol):
    """One source of labels, and the images that it speaks of."""

    images: Sequence[str]  # absolute paths
    files: Sequence[str]  # that labels are read from, or would be; with ``facts`` they decide what is read
    facts: str

    def reader(self) -> Reader:
        """Return what reads the labels; asked for only where they are not in the cache."""
        ...


class Entry(NamedTuple):
    """An image of a data set, and who knows what is in it. Entries are sorted by path."""

    image: str
    source: int
    index: int  # among the images of the source
