"""What a data set was when a run began: enough to tell whether it has changed, and where."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from utils.data.scan.scan_result import ScanResult
from utils.text import counted

PARTS = {"files": "its images are other files", "shapes": "sizes of its images", "labels": "its labels"}


def fingerprint(names: Mapping[int, str], scans: Mapping[str, ScanResult]) -> dict[str, Any]:
    """Return class names, and by split the number of images and hashes of file names, sizes and labels.

    File names count from the folder that the images of a split share, so that the whole may be moved.
    """
    return {"names": dict(names), "splits": {split: _facts(scan) for split, scan in scans.items()}}


def _facts(scan: ScanResult) -> dict[str, Any]:
    shared = os.path.commonpath(scan.image_paths)
    files = (path.removeprefix(shared).replace(os.sep, "/") for path in scan.image_paths)
    counts = np.array([len(rows) for rows in scan.labels])
    polygons = (points for image in scan.segments for points in image if len(points))
    return {
        "images": len(scan),
        "files": _hash(file.encode(errors="surrogateescape") + b"\0" for file in files),
        "shapes": _hash([np.ascontiguousarray(scan.shapes).tobytes()]),
        "labels": _hash(
            [
                counts.tobytes(),
                *(rows.tobytes() for rows in scan.labels),
                *map(np.ndarray.tobytes, polygons),
                *(b"%d" % index + rows.tobytes() for index, rows in enumerate(scan.ignored) if len(rows)),
            ]
        ),
    }


def _hash(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what has changed between two fingerprints, a phrase for each."""
    found = _names_changed(before["names"], now["names"])
    for split, facts in now["splits"].items():
        old = before["splits"].get(split, facts)
        if facts["images"] != old["images"]:
            found.append(f"{split}: {counted(facts['images'], 'image')}, there were {old['images']}")
            continue
        changed = [what for key, what in PARTS.items() if facts[key] != old[key]]
        found += [f"{split}: changed: {changed[0]}"] if changed else []  # another file has other labels too
    return found


def _names_changed(before: Mapping[int, str], now: Mapping[int, str]) -> list[str]:
    if len(before) != len(now):
        return [f"{counted(len(now), 'class')}, there were {len(before)}"]
    return [f"class {index} is {now[index]!r}, it was {name!r}" for index, name in before.items() if now[index] != name]
