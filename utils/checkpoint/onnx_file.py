"""Read an ONNX file without running it: its bytes, once nothing in them names another file, and its metadata."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, Message

from utils.checkpoint.container import other_kind
from utils.checkpoint.export_facts import EXPORT_AGAIN, ExportFacts, read_metadata
from utils.errors import CheckpointError

ENDS_IN_NMS = frozenset(("NonMaxSuppression", "TopK"))


@dataclass(frozen=True)
class OnnxFile:
    path: Path
    content: bytes
    operators: frozenset[str]  # types of the nodes, those of functions and nested graphs included
    metadata: dict[str, str]


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


def read_facts(file: OnnxFile) -> ExportFacts:
    """Return what the metadata say. Raises: CheckpointError where they are missing, wrong, or not of a detector."""
    return replace(read_metadata(file.metadata, file.path), suppresses=bool(file.operators & ENDS_IN_NMS))


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
