"""Weights as a safetensors file: the tensors, and in the header, under ``yolo-backbones``, what a checkpoint says else.

The format: https://huggingface.co/docs/safetensors. A file without our entry is nothing but a state_dict.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from utils.checkpoint.container import DOWNLOAD, other_kind, read_bytes
from utils.checkpoint.content import EDITED
from utils.checkpoint.native import FORMAT
from utils.checkpoint.tables import Storage, TensorRecord
from utils.errors import CheckpointError

SUFFIX = ".safetensors"


class SafetensorsArchive:
    """A safetensors file, read as ``utils.checkpoint.archive.Archive`` reads the others. Raises: CheckpointError."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        content = read_bytes(self.path)
        try:
            self._tensors = load(content)
            metadata = _header(content).get("__metadata__", {})
        except (SafetensorError, ValueError, KeyError, RecursionError) as error:
            is_header = content[8:9] == b"{"
            what, fix = ("damaged", DOWNLOAD) if is_header else other_kind(content, "a safetensors file")
            raise CheckpointError(f"{path}: {what}", fix) from error
        self.root = {key: _record(key, tensor) for key, tensor in self._tensors.items()}
        if FORMAT in metadata:
            self.root = {**_entries(metadata[FORMAT], self.path), "format": FORMAT, "state": self.root}

    def tensor(self, record: TensorRecord) -> Tensor:
        """Return one tensor in the dtype of the file."""
        return self._tensors[record.storage.key]


def safetensors_bytes(content: dict[str, Any]) -> bytes:
    """Return a file of what ``native.checkpoint_content`` returns. Raises: TypeError for what JSON does not know."""
    facts = {key: value for key, value in content.items() if key not in ("format", "state")}
    facts["names"] = list(facts["names"].values())
    if isinstance(facts["yaml"].get("names"), dict):  # whose keys are numbers, which JSON makes texts
        facts["yaml"] = facts["yaml"] | {"names": list(facts["yaml"]["names"].values())}
    tensors = {key: value.contiguous().clone() for key, value in content["state"].items()}  # none may be shared
    return save(tensors, {"format": "pt", FORMAT: json.dumps(facts)})


def _header(content: bytes) -> dict[str, Any]:
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


def _record(key: str, tensor: Tensor) -> TensorRecord:
    return TensorRecord(Storage(tensor.dtype, key, tensor.numel()), 0, tuple(tensor.shape), tensor.stride())


def _entries(text: str, path: Path) -> dict[str, Any]:
    """Return the entries beside the tensors. Raises: CheckpointError."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its entry {FORMAT!r} is no JSON", EDITED) from error
    if not isinstance(entries, dict):
        raise CheckpointError(f"{path}: its entry {FORMAT!r} is no table", EDITED)
    return entries
