"""The file of a TensorRT engine: a length (4 bytes, little-endian), the facts as JSON of that length, the engine."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.checkpoint.export_facts import MAX_METADATA
from utils.errors import CheckpointError

GPU = "cuda"  # the kind of device that builds and runs engines
LENGTH = 4  # bytes in front of the facts


def write_engine(path: Path, facts: Mapping[str, Any], engine: bytes) -> None:
    """Write facts and engine."""
    text = json.dumps(dict(facts)).encode()
    path.write_bytes(len(text).to_bytes(LENGTH, "little") + text + engine)


def read_engine(path: Path, fix: str) -> tuple[Any, bytes]:
    """Return the facts and the engine. Raises: CheckpointError, with ``fix``, where there are no facts."""
    content = path.read_bytes()
    length = int.from_bytes(content[:LENGTH], "little")
    try:
        if not 0 < length <= MAX_METADATA:
            raise ValueError("no length of facts")
        return json.loads(content[LENGTH : LENGTH + length]), content[LENGTH + length :]
    except (ValueError, RecursionError) as error:
        what = f"{path}: damaged, or an engine without metadata that name stride and classes"
        raise CheckpointError(what, fix) from error
