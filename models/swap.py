"""Put another backbone under the neck and head of a model YAML."""

import copy
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import chain
from typing import Any

import torch

from models.backbones import allow_user_file, known_backbones, resolve_backbone
from models.build import build_backbone
from models.parse import LEVELS, Row, at, level_slots, read_rows, reduction_of
from models.yolo import DetectionModel
from utils.errors import ConfigError
from utils.registry import suggest

PYRAMIDS = ("SPP", "SPPF")  # rows that belong to the neck in spirit, though YAMLs list them under the backbone
PROBE_SIZE = 512  # px; side of the virtual image that tells the strides of the rows
DEEPEST = reduction_of(len(LEVELS) - 1)  # stride of the last level that a backbone row has


def swap_backbone(
    data: Mapping[str, Any],
    name: str,
    *,
    weights: bool | str = False,
    options: Mapping[str, Any] | None = None,
    imgsz: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Return a copy of a model YAML's content with the backbone that the command line calls ``name``.

    Rows up to stride 32 give way to one backbone row; a pyramid pooling at their end and rows of larger strides stay;
    what read a row that is gone reads the backbone's level of the same stride. ``weights`` and ``options`` go into the
    row; a backbone that takes one size of images only is built for ``imgsz`` (height, width), and the row says so.
    Raises: ConfigError for an unknown name, for a level that the backbone does not have, for a user's file that cannot
    be used.
    """
    allow_user_file(name)
    if resolve_backbone(name) is None:
        hint = suggest(name, chain.from_iterable(known_backbones().values()))
        raise ConfigError(f"unknown backbone {name!r}", hint or "python models/yolo.py --list-backbones shows them")
    data = copy.deepcopy(dict(data))
    for key in ("normalize", "recipe"):  # of the old backbone's weights, and for its training
        data.pop(key, None)
    rows = read_rows(data, "model")
    if rows[0].is_backbone:
        kept, head = data["backbone"][1:], data["head"]
    else:
        kept, head = _repointed(data, rows)
    row = [-1, 1, name, [weights, *([dict(options)] if options else [])]]
    data |= {"backbone": [row, *kept], "head": head}
    fixed_size = _fixed_size(data)
    if fixed_size and "img_size" not in (options or {}):
        row[3] = [weights, dict(options or {}) | {"img_size": list(imgsz or fixed_size)}]
        _fixed_size(data)  # also at that size
    return data


def _repointed(data: Mapping[str, Any], rows: Sequence[Row]) -> tuple[list, list]:
    """Return the rows of backbone and head that stay, with ``from`` as it is behind a backbone row."""
    strides = row_strides(data, rows)
    count = len(data["backbone"])
    first = first_kept(rows[:count], strides)
    moved = []
    for row, raw in zip(rows[first:], [*data["backbone"], *data["head"]][first:], strict=True):
        with at(f"row {row.index}"):
            pairs = zip(row.written, row.sources, strict=True)
            sources = [_source(value, slot, first, strides) for value, slot in pairs]
        moved.append([sources if isinstance(raw[0], list) else sources[0], *raw[1:]])
    return moved[: count - first], moved[count - first :]


def _source(written: int | str, slot: int, first: int, strides: Sequence[Fraction]) -> int | str:
    """Return what ``from`` becomes: rows from ``first`` on stand behind five slots, earlier ones become levels."""
    if slot >= first:
        return written if written < 0 else slot - first + len(LEVELS)
    level = math.log2(strides[slot])
    if level not in range(1, len(LEVELS) + 1):
        raise ConfigError(
            f"it reads row {slot} of stride {strides[slot]}, which no level of a backbone has", "change its 'from'"
        )
    is_behind_backbone = written == -1 and level == len(LEVELS)
    return -1 if is_behind_backbone else LEVELS[int(level) - 1]


def first_kept(rows: Sequence[Row], strides: Sequence[Fraction]) -> int:
    """Return the index of the first row of an old backbone that stays: of a larger stride, or pyramid pooling."""
    for row in rows:
        if strides[row.index] > DEEPEST:
            return row.index
    last = strides[rows[-1].index]
    pyramids = [row.index for row in rows if row.name in PYRAMIDS and strides[row.index] == last]
    return pyramids[0] if pyramids else len(rows)


@torch.no_grad()
def row_strides(data: Mapping[str, Any], rows: Sequence[Row]) -> list[Fraction]:
    """Return the stride of each row's output, observed on the meta device; the head's entry is 0."""
    with torch.device("meta"):
        model = DetectionModel(data, load_backbone=False).eval()
    sides = [0] * len(rows)

    def note(index: int, output: torch.Tensor) -> None:
        sides[index] = output.shape[-1]

    for row, module in zip(rows[:-1], model.model, strict=False):
        module.register_forward_hook(lambda _, inputs, output, index=row.index: note(index, output))
    model(torch.empty(1, model.yaml["ch"], PROBE_SIZE, PROBE_SIZE, device="meta"))
    return [Fraction(PROBE_SIZE, side) if side else Fraction(0) for side in sides]


def _fixed_size(data: Mapping[str, Any]) -> tuple[int, int] | None:
    """Build the backbone of ``data`` without memory; return the only size of images that it takes, None for any."""
    rows = read_rows(data, "model")
    with torch.device("meta"):
        backbone = build_backbone(rows[0], [reduction_of(slot) for slot in level_slots(rows)], data.get("ch", 3))
    return getattr(backbone, "fixed_size", None)
