"""Read an ONNX file without running it: its bytes, once nothing in them names another file, and its metadata.

The metadata are those that ``utils.export.onnx`` writes: ``stride`` and ``names`` are necessary, ``imgsz`` and ``data``
are the defaults of ``val.py`` and ``detect.py``, ``verification`` tells how near to PyTorch the file was when it was
written, ``bits`` is 16 where its images have so many. Other programs add ``task``.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError, Message

from utils.checkpoint.container import other_kind
from utils.checkpoint.facts import TrainingFacts, read_data, read_imgsz
from utils.errors import CheckpointError
from utils.predictions import LAYOUTS

MAX_METADATA = 2**20  # characters; 10,000 classes have room
MAX_STRIDE = 1024
EXPORT_AGAIN = "export the model again with export.py"
TASKS = ("", "detect")
ENDS_IN_NMS = frozenset(("NonMaxSuppression", "TopK"))


@dataclass(frozen=True)
class OnnxFile:
    path: Path
    content: bytes
    operators: frozenset[str]  # types of the nodes, those of functions and nested graphs included
    metadata: dict[str, str]


@dataclass(frozen=True)
class OnnxFacts:
    """What the metadata of a detector say."""

    stride: int
    names: dict[int, str]
    task: str  # what other programs say that the model is for
    trained: TrainingFacts
    layout: str  # of the output, a name in ``utils.predictions.LAYOUTS``; "" in files of other programs
    suppresses: bool  # holds an operator of NMS
    bits: int  # of the values of the images that it was trained with
    verification: str  # the differences from PyTorch that its export measured, "" where it does not say


def read_onnx(path: Path) -> OnnxFile:
    """Return a file that holds all that it needs. Raises: CheckpointError."""
    content = _read(path)
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        model = onnx.ModelProto()
    if not model.graph.node:
        what, fix = other_kind(content, "an ONNX file")
        raise CheckpointError(f"{path}: {what}", fix)
    operators = _check_self_contained(model, path)
    return OnnxFile(path, content, operators, {entry.key: entry.value for entry in model.metadata_props})


def read_facts(file: OnnxFile) -> OnnxFacts:
    """Return what the metadata say. Raises: CheckpointError where they are missing, wrong, or not of a detector."""
    metadata, path = file.metadata, file.path
    task = metadata.get("task", "")
    if task not in TASKS:
        raise CheckpointError(f"{path}: its metadata name the task {task[:20]!r}", "give the weights of a detector")
    return OnnxFacts(
        stride=_stride(metadata, path),
        names=_names(metadata, path),
        task=task,
        layout=_layout(metadata, path),
        suppresses=bool(file.operators & ENDS_IN_NMS),
        trained=TrainingFacts(read_data(metadata.get("data"), path), _imgsz(metadata, path), is_export=True),
        bits=_bits(metadata, path),
        verification=_verification(metadata, path),
    )


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file", "check the path; relative paths start at the current folder")
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})", "check its permissions") from error


def _check_self_contained(model: onnx.ModelProto, path: Path) -> frozenset[str]:
    """Return the operators of a model. Raises: CheckpointError where any part of it, at any depth, is in another file.

    Tensors can be initializers, sparse or not, attributes of nodes, defaults of functions and parts of what is yet to
    come, so that all messages are looked at rather than those of a list.
    """
    operators = set()
    for part in _messages(model):
        if isinstance(part, onnx.TensorProto) and (
            part.external_data or part.data_location != onnx.TensorProto.DEFAULT
        ):
            raise CheckpointError(
                f"{path}: keeps weights in other files, which are not read", "save it as a single file"
            )
        if isinstance(part, onnx.NodeProto):
            operators.add(part.op_type)
    if "EPContext" in operators:  # a graph that was compiled for one device, often beside the file
        raise CheckpointError(f"{path}: holds a part that is compiled for one device (EPContext)", EXPORT_AGAIN)
    return frozenset(operators)


def _messages(root: Message) -> Iterator[Message]:
    """Yield a message and all those inside it."""
    waiting = [root]
    while waiting:
        message = waiting.pop()
        yield message
        for field, value in message.ListFields():
            if field.message_type is not None:
                waiting.extend([value] if isinstance(value, Message) else value)


def _stride(metadata: dict[str, str], path: Path) -> int:
    text = metadata.get("stride", "")
    if not text.isdecimal() or not 1 <= int(text[:9]) <= MAX_STRIDE:
        raise CheckpointError(f"{path}: its metadata name the stride {text[:20]!r}", EXPORT_AGAIN)
    return int(text)


def _layout(metadata: dict[str, str], path: Path) -> str:
    name = metadata.get("layout", "")
    if name and name not in LAYOUTS:
        raise CheckpointError(f"{path}: its metadata name the layout {name[:20]!r}", EXPORT_AGAIN)
    return name


def _bits(metadata: dict[str, str], path: Path) -> int:
    text = metadata.get("bits", "8")
    if text not in ("8", "16"):
        raise CheckpointError(f"{path}: its metadata name images of {text[:20]!r} bits", EXPORT_AGAIN)
    return int(text)


def _names(metadata: dict[str, str], path: Path) -> dict[int, str]:
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


def _imgsz(metadata: dict[str, str], path: Path) -> tuple[int, int] | None:
    text = metadata.get("imgsz", "null")
    try:
        return read_imgsz(_parse(text[:100]), path)
    except _NO_LITERAL as error:
        raise CheckpointError(f"{path}: its metadata name the image size {text[:20]!r}", EXPORT_AGAIN) from error


def _verification(metadata: dict[str, str], path: Path) -> str:
    """Return the comparisons as text: ``1×3×64×64: 1e-05 px, 1e-07``."""
    try:
        comparisons = json.loads(metadata.get("verification", "[]")[:MAX_METADATA])
        parts = [
            ("×".join(f"{int(n)}" for n in c["shape"]), float(c["box_px"]), float(c["score"])) for c in comparisons
        ]
    except (*_NO_LITERAL, KeyError) as error:
        raise CheckpointError(f"{path}: its metadata hold no readable comparison with PyTorch", EXPORT_AGAIN) from error
    return "; ".join(f"{shape}: {box:.1e} px, {score:.1e}" for shape, box, score in parts[:4])


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
