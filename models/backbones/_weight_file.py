"""Get a file of published weights, from disk or by URL, and find the state dict in it.

A state dict may lie in the file on its own or under one of ``PLACES``, beside anything else that a training script
stores, with the prefixes of DataParallel and Lightning, and as a part of a detector. Where a file has both the weights
and their moving average, the weights are taken.
"""

import argparse
import logging
import re
from collections.abc import Collection, Mapping
from hashlib import sha256
from pathlib import Path
from shutil import copyfileobj
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import torch
from torch import Tensor

from utils.errors import CheckpointError
from utils.runs import atomic_write, cache_dir

log = logging.getLogger(__name__)

PLACES = ("model", "model_ema", "state_dict", "net", "net_E")
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
        if not name.endswith(".safetensors"):  # which a library reads itself
            check_kind(temporary, url)
    return path


def check_kind(path: Path, source: str) -> None:
    """Return if the file starts as torch.save writes it. Raises: CheckpointError saying what it is instead."""
    with path.open("rb") as file:
        start = file.read(256)
    if start.startswith(MAGIC):
        return
    text = start.lstrip().lower()
    if not start:
        raise CheckpointError(f"{source}: the file is empty", _AGAIN)
    if text.startswith((b"<!doctype", b"<html")):
        raise CheckpointError(f"{source}: a web page instead of weights", "download the file behind that page")
    if text.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{source}: a Git LFS pointer instead of weights", "run 'git lfs pull' in that checkout")
    raise CheckpointError(f"{source}: not a file of torch.save (it starts with {start[:8]!r})", _AGAIN)


def read_file(path: Path) -> Any:
    """Return what torch.save stored: tensors, plain data and argparse's Namespace; nothing of the file is executed.

    Raises: CheckpointError when it is missing or damaged, or holds any other class.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file", "check the path; relative paths start at the current folder")
    check_kind(path, str(path))
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise whatever the parser trips over
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused:
            raise CheckpointError(
                f"{path}: holds an object of {refused[1]}, which is not loaded because loading could run code",
                "save its state dict alone, torch.save(model.state_dict(), …), where you trust the file",
            ) from error
        raise CheckpointError(f"{path}: damaged or cut short ({type(error).__name__})", _AGAIN) from error


def find_state(content: Any, own: Collection[str], path: Path) -> tuple[dict[str, Tensor], str]:
    """Return (state dict without prefixes, the one of ``PLACES`` where it lay, else "").

    ``own`` are the keys of the backbone: a prefix that they have themselves stays. Raises: CheckpointError.
    """
    nested = content if isinstance(content, Mapping) else {}
    place = next((key for key in PLACES if isinstance(nested.get(key), Mapping)), "")
    entries = nested[place] if place else nested
    state = {key: value for key, value in entries.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not state:
        found = ", ".join(map(str, nested)) or type(content).__name__
        raise CheckpointError(
            f"{path}: no state dict in it, nor under {', '.join(PLACES)}; it holds {found[:200]}",
            "give a file of weights",
        )
    for prefix in PREFIXES:
        inner = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        is_part = prefix == "backbone." or len(inner) == len(state)  # the rest of a detector is not ours
        if inner and is_part and not any(key.startswith(prefix) for key in own):
            state = inner
    return state, place
