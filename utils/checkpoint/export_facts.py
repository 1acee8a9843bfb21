"""What the metadata of an exported file say, in whatever format they are stored.

They are those that ``utils.export.facts`` writes. ``stride`` and ``names`` are necessary, ``imgsz`` and ``data`` the
defaults of ``val.py`` and ``detect.py``, ``verification`` tells how near to PyTorch the file was when it was written,
``channels`` and ``bits`` what its images are, 3 and 8 where it does not say. Other programs add ``task``.
"""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.checkpoint.facts import TrainingFacts, read_data, read_imgsz
from utils.errors import CheckpointError
from utils.pixels import BITS, MAX_CHANNELS
from utils.predictions import EXPORTED_LAYOUTS

MAX_METADATA = 2**20  # characters; 10,000 classes have room
MAX_STRIDE = 1024
EXPORT_AGAIN = "export the model again with export.py"
TASKS = ("", "detect")


@dataclass(frozen=True)
class ExportFacts:
    """What the metadata of a detector say."""

    stride: int
    names: dict[int, str]
    task: str  # what other programs say that the model is for
    trained: TrainingFacts
    layout: str  # of the output, a name in ``utils.predictions.EXPORTED_LAYOUTS``; "" in files of other programs
    channels: int  # of images
    bits: int  # of the values of the images that it was trained with
    verification: str  # the differences from PyTorch that its export measured, "" where it does not say
    suppresses: bool = False  # holds an operator of NMS


def read_metadata(metadata: Mapping[str, str], path: Path) -> ExportFacts:
    """Return what the metadata say. Raises: CheckpointError where they are missing, wrong, or not of a detector."""
    task = metadata.get("task", "")
    if task not in TASKS:
        raise CheckpointError(f"{path}: its metadata name the task {task[:20]!r}", "give the weights of a detector")
    return ExportFacts(
        stride=_stride(metadata, path),
        names=_names(metadata, path),
        task=task,
        layout=_layout(metadata, path),
        trained=TrainingFacts(read_data(metadata.get("data"), path), _imgsz(metadata, path), is_export=True),
        channels=_number(metadata, "channels", 3, range(1, MAX_CHANNELS + 1), path),
        bits=_number(metadata, "bits", 8, BITS, path),
        verification=_verification(metadata, path),
    )


def as_metadata(table: Any, path: Path) -> dict[str, str]:
    """Return a table of a JSON or YAML file as metadata: what is not text as JSON. Raises: CheckpointError."""
    if not isinstance(table, dict):
        raise CheckpointError(f"{path}: holds no table of metadata", EXPORT_AGAIN)
    texts = {str(key): value for key, value in table.items() if isinstance(value, str)}
    return texts | {str(key): json.dumps(value) for key, value in table.items() if not isinstance(value, str)}


def _stride(metadata: Mapping[str, str], path: Path) -> int:
    text = metadata.get("stride", "")
    if not text.isdecimal() or not 1 <= int(text[:9]) <= MAX_STRIDE:
        raise CheckpointError(f"{path}: its metadata name the stride {text[:20]!r}", EXPORT_AGAIN)
    return int(text)


def _number(metadata: Mapping[str, str], key: str, default: int, allowed: Sequence[int], path: Path) -> int:
    """Return one of the ``allowed`` numbers. Raises: CheckpointError for another."""
    text = metadata.get(key, str(default))
    if text not in map(str, allowed):
        raise CheckpointError(f"{path}: its metadata name images of {text[:20]!r} {key}", EXPORT_AGAIN)
    return int(text)


def _layout(metadata: Mapping[str, str], path: Path) -> str:
    name = metadata.get("layout", "")
    if name and name not in EXPORTED_LAYOUTS:
        raise CheckpointError(f"{path}: its metadata name the layout {name[:20]!r}", EXPORT_AGAIN)
    return name


def _names(metadata: Mapping[str, str], path: Path) -> dict[int, str]:
    """Return the class names, written as JSON or as a Python dictionary or list of literals."""
    text = metadata.get("names", "")
    if not text or len(text) > MAX_METADATA:
        raise CheckpointError(f"{path}: its metadata hold {len(text)} characters of class names", EXPORT_AGAIN)
    try:
        names = _parse(text)
        items = names.items() if isinstance(names, dict) else enumerate(names)
        names = {_index(key): str(name) for key, name in items}
    except _NO_LITERAL as error:
        raise CheckpointError(f"{path}: its class names are no table of names", EXPORT_AGAIN) from error
    if not names or set(names) != set(range(len(names))):
        raise CheckpointError(
            f"{path}: its {len(names)} class names are not numbered 0 to {len(names) - 1}", EXPORT_AGAIN
        )
    return {index: names[index] for index in range(len(names))}


def _index(key: Any) -> int:
    if type(key) is int or (isinstance(key, str) and key.isdecimal()):
        return int(key)
    raise TypeError("no class number")


def _imgsz(metadata: Mapping[str, str], path: Path) -> tuple[int, int] | None:
    text = metadata.get("imgsz", "null")
    try:
        return read_imgsz(_parse(text[:100]), path)
    except _NO_LITERAL as error:
        raise CheckpointError(f"{path}: its metadata name the image size {text[:20]!r}", EXPORT_AGAIN) from error


def _verification(metadata: Mapping[str, str], path: Path) -> str:
    """Return the comparisons as text: ``1×3×64×64: 1e-05 px, 1e-07``."""
    try:
        comparisons = json.loads(metadata.get("verification", "[]")[:MAX_METADATA])
        parts = [
            ("×".join(f"{int(n)}" for n in c["shape"]), float(c["box_px"]), float(c["score"])) for c in comparisons
        ]
    except (*_NO_LITERAL, KeyError) as error:
        raise CheckpointError(f"{path}: its metadata hold no readable comparison with PyTorch", EXPORT_AGAIN) from error
    texts = [f"{shape}: {box:.1e} px, {score:.1e}" for shape, box, score in parts[:4]]
    return "; ".join(texts + _cost(metadata, path))


def _cost(metadata: Mapping[str, str], path: Path) -> list[str]:
    """Return what computing in integers cost when the file was written, nothing for one in floats."""
    try:
        cost = json.loads(metadata.get("int8", "{}")[:MAX_METADATA]).get("mAP50-95")
        figures = () if cost is None else (float(cost["float32"]), float(cost["int8"]), int(cost["images"]))
    except (*_NO_LITERAL, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: its metadata hold no readable cost of integers", EXPORT_AGAIN) from error
    return ["mAP50-95 {:.4f} in float32, {:.4f} in integers, on {} images".format(*figures)] if figures else []


_NO_LITERAL = (ValueError, TypeError, SyntaxError, OverflowError, RecursionError, MemoryError)


def _parse(text: str) -> Any:
    """Return JSON, or what Python writes for lists and dictionaries of text and whole numbers.

    Nothing else reaches ``literal_eval``: before Python 3.11, long sums overflow the stack there.
    """
    try:
        return json.loads(text)
    except ValueError:
        if not _BETWEEN_STRINGS.fullmatch(_STRINGS.sub("", text)):
            raise
        return ast.literal_eval(text)


_STRINGS = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
_BETWEEN_STRINGS = re.compile(r"[\[\](){},:\d\s]*")
