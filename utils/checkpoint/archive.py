"""Read the pickle of a checkpoint into plain data and inert records, and its tensors on demand; nothing executes."""

import io
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.checkpoint.container import DOWNLOAD, OURS_OR_OFFICIAL, ZipRecords, is_zip, read_file
from utils.checkpoint.foreign import name_project
from utils.checkpoint.pickle_vm import run_pickle
from utils.checkpoint.tables import InertClass, RefusedError, Storage, StorageType, TensorRecord, describe, scalar_keys
from utils.errors import CheckpointError

_LEGACY_PROTOCOL = 1001
_DAMAGE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, EOFError, struct.error)


class Archive:
    """A weights file: ``root``, the value of its pickle, and ``tensor(record)``.

    Raises: CheckpointError in one sentence when the file is missing, damaged, foreign, or names anything unknown.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        content = read_file(path)
        try:
            self.root, self._storages = (_read_zip if is_zip(content) else _read_legacy)(content, self.path)
        except RefusedError as reason:
            project = name_project(content)
            raise CheckpointError(
                f"{path}: {f'{project}, ' if project else ''}refused: it contains {reason}, "
                "which no detection checkpoint of YOLOv5, YOLOv8 or YOLO11 does",
                OURS_OR_OFFICIAL,
            ) from reason
        except _DAMAGE as error:
            raise CheckpointError(f"{path}: truncated or damaged", DOWNLOAD) from error
        self._bytes_left = 2 * len(content)  # tied weights may be read twice; many views of one storage are a bomb

    def tensor(self, record: TensorRecord) -> Tensor:
        """Return a copy of one tensor, in the dtype and memory layout of the file."""
        storage, item = record.storage, record.storage.dtype.itemsize
        data = self._storages.get(storage.key, b"")
        if storage.numel * item > len(data):
            raise CheckpointError(f"{self.path}: truncated: storage {storage.key} has {len(data)} bytes", DOWNLOAD)
        self._bytes_left -= max(record.span, 1) * item
        if self._bytes_left < 0:
            raise CheckpointError(
                f"{self.path}: refused: its tensors repeat the same numbers again and again", OURS_OR_OFFICIAL
            )
        if record.numel == 0:
            return torch.empty(record.shape, dtype=storage.dtype)
        used = bytearray(data[record.offset * item : (record.offset + record.span) * item])
        return torch.frombuffer(used, dtype=storage.dtype).as_strided(record.shape, record.stride)


def _read_zip(content: bytes, path: Path) -> tuple[Any, Mapping[str, memoryview]]:
    records = ZipRecords(content, path)
    root = run_pickle(io.BytesIO(records["data.pkl"]), _storage)
    return root, {name.removeprefix("data/"): record for name, record in records.items()}


def _storage(persistent_id: Any) -> Storage | InertClass:
    """Return the storage that a persistent id of ``torch.save`` names."""
    if type(persistent_id) is not tuple or len(persistent_id) < 4:
        raise RefusedError(f"{describe(persistent_id)} as the name of a storage")
    kind, target, key = persistent_id[:3]
    if kind == "module" and type(target) is InertClass:  # a class, with its source text, in the format before torch 1.6
        return target
    if kind != "storage" or type(target) is not StorageType:
        raise RefusedError(f"{describe(target)} as a storage")
    return Storage(target.dtype, key, persistent_id[4])


def _read_legacy(content: bytes, _path: Path) -> tuple[Any, Mapping[str, memoryview]]:
    """Read magic number, protocol, system facts, value and storage keys (five pickles), then size and data of each."""
    file, seen = io.BytesIO(content), {}

    def remember(persistent_id: Any) -> Storage | InertClass:
        storage = _storage(persistent_id)
        if type(storage) is Storage:
            seen[storage.key] = storage
        return storage

    _magic, protocol, system, root, keys = (run_pickle(file, remember) for _ in range(5))
    if protocol != _LEGACY_PROTOCOL or system["little_endian"] is not True:
        raise RefusedError(f"protocol {describe(protocol)} or big-endian numbers")
    storages = {}
    for key in scalar_keys(keys):
        numel = int.from_bytes(file.read(8), "little")
        size = numel * seen[key].dtype.itemsize
        storages[key] = memoryview(content)[file.tell() : file.tell() + size]
        file.seek(size, io.SEEK_CUR)
    return root, storages
