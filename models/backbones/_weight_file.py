"""Get a file of published weights, from disk or by URL, and find the state dict in it.

A state dict may lie in the file on its own or under one or two of ``PLACES``, beside anything else that a training
script stores, with the prefixes of DataParallel and Lightning in any order, and as a part of a detector. Where a file
has both the weights and their moving average, the weights are taken.
"""

import argparse
import logging
import re
import zipfile
from collections.abc import Collection, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from shutil import copyfileobj
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from utils.errors import CheckpointError
from utils.runs import atomic_write, cache_dir

log = logging.getLogger(__name__)

PLACES = ("model", "state_dict", "net", "module", "model_ema", "state_dict_ema", "ema", "net_E")  # averages last
MAX_NESTING = 2  # places inside each other
PREFIXES = ("module.", "model.", "backbone.")  # DataParallel, Lightning, mmdet
MAGIC = (b"PK\x03\x04", b"\x80\x02")  # how a file of torch.save starts: zip archive, or pickle before PyTorch 1.6
TIMEOUT_S = 30
_AGAIN = "download the file again"


def is_url(source: str | Path) -> bool:
    return str(source).startswith(("http://", "https://"))


def download(url: str) -> Path:
    """Return the cached file of ``url``, fetched on first use. Raises: CheckpointError when it cannot be had."""
    name = Path(urlsplit(url).path).name or "weights"
    path = cache_dir("weights") / f"{sha256(url.encode()).hexdigest()[:12]}-{name}"
    if path.is_file():
        return path
    log.info("downloading %s to %s", url, path)
    by_hand = "download it with a browser and give the path of the file"
    with atomic_write(path) as temporary:
        try:
            with urlopen(url, timeout=TIMEOUT_S) as response, temporary.open("wb") as file:  # noqa: S310 - see is_url
                copyfileobj(response, file)
                announced = response.headers.get("Content-Length")
        except (OSError, ValueError) as error:  # no network, 404, time-out, malformed URL
            raise CheckpointError(f"{url}: cannot be downloaded ({error})", by_hand) from error
        size = temporary.stat().st_size
        if announced and int(announced) != size:
            raise CheckpointError(f"{url}: the download stopped after {size} of {announced} bytes", by_hand)
        is_safetensors(temporary, url)
    return path


def is_safetensors(path: Path, source: str) -> bool:
    """Tell a file of safetensors from one of torch.save. Raises: CheckpointError saying what it is instead."""
    with path.open("rb") as file:
        start = file.read(256)
    if start.startswith(MAGIC):
        return False
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**32:  # the length of a JSON header, the header
        return True
    text = start.lstrip().lower()
    if not start:
        raise CheckpointError(f"{source}: the file is empty", _AGAIN)
    if text.startswith((b"<!doctype", b"<html")):
        raise CheckpointError(f"{source}: a web page instead of weights", "download the file behind that page")
    if text.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{source}: a Git LFS pointer instead of weights", "run 'git lfs pull' in that checkout")
    raise CheckpointError(f"{source}: not a file of torch.save or safetensors (it starts with {start[:8]!r})", _AGAIN)


def read_file(path: Path) -> Any:
    """Return what torch.save or safetensors stored: tensors, plain data, argparse's Namespace; nothing is executed.

    Raises: CheckpointError when it is missing or damaged, or holds any other class.
    """
    if not path.is_file():
        what = "a folder, not a weights file" if path.is_dir() else "no such file"
        raise CheckpointError(f"{path}: {what}", "check the path; relative paths start at the current folder")
    try:
        by_library = is_safetensors(path, str(path))
        if by_library:
            return load_file(path)
        _check_sums(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except PermissionError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})", "check its permissions") from error
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged or cut short ({error})", _AGAIN) from error
    except Exception as error:  # a damaged file may raise whatever the parser trips over
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused:
            raise CheckpointError(
                f"{path}: holds an object of {refused[1]}, which is not loaded because loading could run code",
                "save its state dict alone, torch.save(model.state_dict(), …), where you trust the file",
            ) from error
        raise CheckpointError(f"{path}: damaged or cut short ({type(error).__name__})", _AGAIN) from error


def _check_sums(path: Path) -> None:
    """Raises: CheckpointError where a record of a zip was altered, which PyTorch does not look at.

    A file without any checksum was written so.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        altered = archive.testzip() if any(info.CRC for info in archive.infolist()) else None
    if altered:
        raise CheckpointError(f"{path}: damaged: the checksum (CRC-32) of {altered!r} is wrong", _AGAIN)


def find_state(content: Any, own: Collection[str], path: Path) -> tuple[dict[str, Tensor], str]:
    """Return (state dict without prefixes, where of ``PLACES`` it lay, such as ``model.state_dict``, else "").

    ``own`` are the keys of the backbone: a prefix that they have themselves stays. Raises: CheckpointError.
    """
    place, state = next(_tables(content), ("", {}))
    if not state:
        found = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise CheckpointError(
            f"{path}: no state dict in it, nor under {', '.join(PLACES)}; it holds {found[:200]}",
            "give a file of weights",
        )
    while (inner := _without_prefix(state, own)) is not None:
        state = inner
    return state, place


def _tables(content: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield (place, tensors by key) wherever there are tensors, those at ``PLACES`` first."""
    if not isinstance(content, Mapping):
        return
    if len(place) < MAX_NESTING:
        for key in PLACES:
            yield from _tables(content.get(key), (*place, key))
    state = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if state:
        yield ".".join(place), state


def _without_prefix(state: dict[str, Tensor], own: Collection[str]) -> dict[str, Tensor] | None:
    """Return the state dict without the first of ``PREFIXES`` that it has and ``own`` does not; None without any."""
    for prefix in PREFIXES:
        inner = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        is_part = prefix == "backbone." or len(inner) == len(state)  # the rest of a detector is not ours
        if inner and is_part and not any(key.startswith(prefix) for key in own):
            return inner
    return None


def check_finite(state: Mapping[str, Tensor], source: str | Path) -> None:
    """Raises: CheckpointError for the first tensor that float32 cannot hold without NaN or infinity."""
    for key, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value.float()).all():
            what = f"{source}: tensor {key!r} holds NaN or infinity"
            raise CheckpointError(what, "take weights from before they diverged")
