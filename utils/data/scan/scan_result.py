"""What a scan finds: the images of a data set with their labels, and what had to be left out."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from utils.pixels import RGB, PixelFormat
from utils.text import counted, safe_text

SHOWN_PROBLEMS = 20  # in an error


class Problem(NamedTuple):
    """Something that was left out or repaired; ``line`` counts from 1, and 0 means the whole file."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        path = safe_text(self.path)
        return f"{path}:{self.line} {self.message}" if self.line else f"{path}: {self.message}"


def show(problems: Sequence[Problem]) -> str:
    """Return the first problems, one per line, for an error."""
    lines = [f"  {problem}" for problem in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        lines.append(f"  … and {len(problems) - SHOWN_PROBLEMS} more")
    return "\n".join(lines)


@dataclass(frozen=True)
class ScanResult:
    """The N usable images of a data set with their labels.

    ``segments[i]`` has one polygon (k, 2), 0–1, for each row of ``labels[i]``, without points where the row was a box.
    """

    image_paths: list[str]
    labels: list[np.ndarray]  # (n, 5) float32 [class, cx, cy, w, h], 0–1
    shapes: np.ndarray  # (N, 2) int32 [height, width], upright
    segments: list[list[np.ndarray]]
    ignored: list[np.ndarray]  # (k, 5) like labels: crowds and difficult objects, for which nothing counts as false
    found: int  # images with a label file
    missing: int  # images without one: backgrounds
    empty: int  # images whose label file has no usable row: backgrounds too
    unreadable: int  # images left out
    dropped_rows: int  # label rows left out
    duplicates: int  # repeated label rows, of which one is kept
    rounded: int  # label rows that were clipped by a rounding error
    clipped: int  # boxes of COCO and VOC that reached out of the image
    left_out: dict[str, int]  # class that the data set has no name for → its objects, which are no labels here
    problems: list[Problem]
    cached: bool
    pixels: PixelFormat = RGB  # what the images are read as
    deep: int = 0  # images whose values have more bits than are read
    paged: Sequence[str] = ()  # images of several grey pages, of which the first is read
    repairs: list[Problem] = field(default_factory=list)  # the repeated and rounded rows and the clipped boxes

    def __len__(self) -> int:
        return len(self.image_paths)

    def take(self, indices: Sequence[int]) -> "ScanResult":
        """Return the images of some indices, in their order; the counts stay those of all."""
        per_image = ("image_paths", "labels", "segments", "ignored")
        lists = {name: [getattr(self, name)[index] for index in indices] for name in per_image}
        return replace(self, shapes=self.shapes[np.asarray(indices, dtype=int)], **lists)

    def summary(self) -> str:
        backgrounds = counted(self.missing + self.empty, "background")
        parts = [counted(len(self), "image"), backgrounds, f"{self.unreadable} unreadable"]
        repairs = {
            "bad row": self.dropped_rows,
            "repeated row": self.duplicates,
            "rounded row": self.rounded,
            "clipped box": self.clipped,
            "ignored region": sum(map(len, self.ignored)),
        }
        parts += [counted(count, what) for what, count in repairs.items() if count]
        return ", ".join(parts) + (" (cached)" if self.cached else "")
