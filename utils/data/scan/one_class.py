"""A data set whose classes are all one: where its objects are counts, not what they are."""

from dataclasses import replace

import numpy as np

from utils.data.scan.scan_result import ScanResult
from utils.data.scan.spec import DataSpec

ONE_NAME = "item"


def with_one_class(spec: DataSpec) -> DataSpec:
    """Return the data set with a single class; where it has no more than one, that keeps its name."""
    return replace(spec, names={0: ONE_NAME}) if spec.nc > 1 else spec


def as_one_class(scan: ScanResult) -> ScanResult:
    """Return a scan, whose class ids have been checked, with class 0 in every label."""
    return replace(scan, labels=_zeroed(scan.labels), ignored=_zeroed(scan.ignored))


def _zeroed(of_images: list[np.ndarray]) -> list[np.ndarray]:
    copies = [rows.copy() if len(rows) else rows for rows in of_images]
    for rows in copies:
        rows[:, 0] = 0
    return copies
