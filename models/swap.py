"""Put another backbone under the neck of a model YAML, or another head on it."""

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import chain
from typing import Any

import torch
from torch import nn

from models.backbones import allow_user_file, known_backbones, resolve_backbone
from models.build import backbone_args, build_backbone, norms_passed_by
from models.detector import DetectionModel
from models.dialects import dialect_of
from models.keys import check_model_yaml
from models.parse import LEVELS, Row, at, level_slots, read_rows, reduction_of
from models.registry import NO_RECIPE
from utils.errors import ConfigError
from utils.head_names import ANCHOR
from utils.imgsz import rounded_up
from utils.registry import suggest
from utils.runs import ROOT
from utils.yaml_file import read_yaml

log = logging.getLogger(__name__)

PYRAMIDS = ("SPP", "SPPF")  # rows that belong to the neck in spirit, though YAMLs list them under the backbone
ANCHORS_PER_LEVEL = 3  # where YOLOv5 has none for the levels
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
    The training defaults of the backbone's family take the place of those of the YAML, unless it says ``recipe: none``.
    Where the YAML has that backbone already, its row keeps its options and, unless others are given, its weights.
    Raises: ConfigError for an unknown name, for a level that the backbone does not have, for a user's file that cannot
    be used.
    """
    allow_user_file(name)
    if resolve_backbone(name) is None:
        hint = suggest(name, chain.from_iterable(known_backbones().values()))
        raise ConfigError(f"unknown backbone {name!r}", hint or "python models/yolo.py --list-backbones shows them")
    data = copy.deepcopy(dict(data))
    check_model_yaml(data)
    rows = read_rows(data)
    options = dict(options or {})
    if rows[0].is_backbone and rows[0].name == name:
        row = data["backbone"][0]
        named, given = backbone_args(rows[0].entry, row[3])
        weights, options = weights or named or False, given | options
    else:
        row = [-1, 1, name, []]
        data = _with_row(data, rows, row)
    row[3] = [weights, options] if options else [weights]
    if "img_size" not in options:
        _bind_size(data, row, imgsz)
    _on_meta(data)  # refuses what does not work at that size
    return data


def swap_head(data: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return a copy of a model YAML's content with the head of a ``kind`` (see ``utils.head_names``) on its neck.

    YOLOv5's head gets the anchors of YOLOv5 where it has a row of them for each level, else a number of them, which
    AutoAnchor fits. Raises: ConfigError for a YAML that is wrong.
    """
    data = copy.deepcopy(dict(data))
    check_model_yaml(data)
    if dialect_of(data).has_anchors == (kind == ANCHOR):
        return data
    rows = read_rows(data)
    if kind == ANCHOR:
        data["anchors"] = _anchors_for(_level_strides(data, rows))
        args = ["nc", "anchors"]
        if "scales" not in data:  # YOLOv5's language wants them written
            data = {"depth_multiple": 1.0, "width_multiple": 1.0} | data
    else:
        del data["anchors"]
        args = ["nc"]
    data["head"][-1][3] = args
    _tell_of_other_layers(rows, read_rows(data))
    return data


def _tell_of_other_layers(before: Sequence[Row], after: Sequence[Row]) -> None:
    """Say which rows mean other layers, because a head without 'scales' decides in which language a YAML is written."""
    changed = sorted({row.name for row, new in zip(before[:-1], after[:-1], strict=True) if row.entry != new.entry})
    if changed:
        log.warning("with this head, rows of %s are other layers: 3×3 convolutions for 1×1 or back", ", ".join(changed))


def _level_strides(data: Mapping[str, Any], rows: Sequence[Row]) -> list[Fraction]:
    """Return the stride of each map that the head reads."""
    by_slot = {row.slot: stride for row, stride in zip(rows, row_strides(data, rows), strict=True)}
    by_slot |= {slot: Fraction(reduction_of(slot)) for slot in level_slots(rows)}
    return [by_slot[slot] for slot in rows[-1].sources]


def _anchors_for(strides: Sequence[Fraction]) -> list[list[float]] | int:
    """Return YOLOv5's anchors for levels of these strides, or how many a level gets."""
    known = read_yaml(ROOT / "models/hub/anchors.yaml")
    for anchors in (known["P5_640"], known["P6_640"]):
        if list(strides) == [8 * 2**level for level in range(len(anchors))]:
            return anchors
    return ANCHORS_PER_LEVEL


def moved_rows(data: Mapping[str, Any]) -> dict[int, int] | None:
    """Return, for a model of layer rows, which rows ``swap_backbone`` keeps and where they stand then; else None."""
    rows = read_rows(data)
    if rows[0].is_backbone:
        return None
    first = first_kept(rows[: len(data["backbone"])], row_strides(data, rows))
    return {index: index - first + 1 for index in range(first, len(rows))}


def _with_row(data: Mapping[str, Any], rows: Sequence[Row], row: list) -> dict[str, Any]:
    """Return the model YAML with ``row`` in the place of its backbone, and without what was for the old one."""
    if rows[0].is_backbone:
        kept, head = data["backbone"][1:], data["head"]
    else:
        kept, head = _repointed(data, rows)
    others = {key: value for key, value in data.items() if key not in ("normalize", "recipe")}
    recipe = data["recipe"] if data.get("recipe") == NO_RECIPE else dict(resolve_backbone(row[2]).recipe)
    return others | {"backbone": [row, *kept], "head": head} | ({"recipe": recipe} if recipe else {})


def _bind_size(data: Mapping[str, Any], row: list, imgsz: tuple[int, int] | None) -> None:
    """Write into ``row``, in place, the size for which a backbone is built that takes one size, or up to one size."""
    backbone = _on_meta(data)
    fixed, largest = (getattr(backbone, key, None) for key in ("fixed_size", "largest_size"))
    wanted = tuple(imgsz or fixed or largest or ())
    is_too_large = largest and any(side > limit for side, limit in zip(wanted, largest, strict=True))
    if not (fixed or is_too_large):
        return
    with torch.device("meta"):
        multiple = DetectionModel(data, load_backbone=False).size_multiple
    size = [rounded_up(side, multiple) for side in wanted]
    row[3] = [row[3][0], {**(row[3][1] if len(row[3]) > 1 else {}), "img_size": size}]


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
        sides[index] = (output[-1] if isinstance(output, list) else output).shape[-1]  # of a backbone the coarsest

    for row, module in zip(rows[:-1], model.model, strict=False):
        module.register_forward_hook(lambda _, inputs, output, index=row.index: note(index, output))
    with norms_passed_by(model):
        model(torch.empty(1, model.yaml["ch"], PROBE_SIZE, PROBE_SIZE, device="meta"))
    return [Fraction(PROBE_SIZE, side) if side else Fraction(0) for side in sides]


def _on_meta(data: Mapping[str, Any]) -> nn.Module:
    """Return the backbone of ``data`` without memory for its weights."""
    rows = read_rows(data)
    with torch.device("meta"):
        return build_backbone(rows[0], [reduction_of(slot) for slot in level_slots(rows)], data.get("ch", 3))
