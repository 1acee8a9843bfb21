"""What a data set is, in one line: images, boxes, the rarest and the most frequent class, how large the boxes are."""

from collections.abc import Mapping

import numpy as np

from utils.data.scan.scan_result import ScanResult
from utils.text import counted, shorten

WIDTH = 112  # characters of the line, which is to fit into a terminal of 120 columns behind the name of the split
NAME_LIMIT, SHORTEST_NAME = 20, 4


def statistics_line(scan: ScanResult, names: Mapping[int, str], shape: tuple[int, int]) -> str:
    """Return the line; the median width and height of the boxes are pixels of images that fit into ``shape`` (h, w)."""
    per_image = list(map(len, scan.labels))
    rows = np.concatenate(scan.labels)
    scale = (np.array(shape) / scan.shapes).min(1)
    drawn = np.repeat(scan.shapes[:, ::-1] * scale[:, None], per_image, axis=0)  # (T, 2) width, height
    width, height = np.median(rows[:, 3:] * drawn, axis=0)
    size = f"{shape[1]}×{shape[0]}" if shape[0] != shape[1] else shape[0]
    start = f"{counted(len(scan), 'image')}, {counted(len(rows), 'box')} ({len(rows) / len(scan):.1f} per image)"
    end = f"median box {width:.0f}×{height:.0f} px at {size}"
    counts = np.bincount(rows[:, 0].astype(int), minlength=len(names))
    for limit in range(NAME_LIMIT, SHORTEST_NAME - 1, -1):  # characters of a name
        line = f"{start}; {_classes(names, counts, limit)}; {end}"
        if len(line) <= WIDTH:
            break
    return line


def _classes(names: Mapping[int, str], counts: np.ndarray, limit: int) -> str:
    classes = counted(len(names), "class")
    if len(names) == 1:
        return classes
    few, many = (f"{shorten(names[index], limit)} {counts[index]}" for index in (counts.argmin(), counts.argmax()))
    return f"{classes}, {few} to {many}"
