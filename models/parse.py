"""Read a model YAML into checked rows: keys, names, slots. Names are looked up, never executed; nothing is built."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from torch import nn

import models.heads
import models.layers  # noqa: F401 - importing both packages fills LAYERS
from models.backbones import known_backbones, resolve_backbone
from models.dialects import Dialect, dialect_of
from models.keys import is_count
from models.registry import LAYERS, BackboneEntry, LayerEntry
from models.scales import choose_scale, find_model_yaml
from utils.class_names import read_class_names
from utils.errors import ConfigError
from utils.registry import suggest

MAX_REPEATS = 1000
MAX_TEXT = 600  # characters of a message
LISTS = "models/common.py lists the layers, python models/yolo.py --list-backbones the backbones"
HEADS = ("head", "anchor_free_head")  # wirings of what ends a model
# Behind a backbone row, "from" counts slots:
#     slot  0   1   2    3    4    5      6 …
#           P1  P2  P3   P4   P5   row 1  row 2 …   levels of stride 2 4 8 16 32 that the backbone has not stay empty
LEVELS = ("P1", "P2", "P3", "P4", "P5")  # the slots of a backbone row, strides 2 … 32

TORCH_LAYERS = {
    "nn.BatchNorm2d": LayerEntry(nn.BatchNorm2d, "norm"),
    "nn.ConvTranspose2d": LayerEntry(nn.ConvTranspose2d, "conv"),
} | {
    f"nn.{cls.__name__}": LayerEntry(cls, "same")
    for cls in (
        *(nn.AvgPool2d, nn.ConstantPad2d, nn.Dropout, nn.Dropout2d, nn.Identity, nn.MaxPool2d, nn.ReflectionPad2d),
        *(nn.ReplicationPad2d, nn.Upsample, nn.ZeroPad2d),
    )
}


@contextmanager
def at(place: str) -> Iterator[None]:
    """Put ``place`` before the message of a ConfigError that is raised inside; what a file quotes in it is cut."""
    try:
        yield
    except ConfigError as error:
        what, fix = (text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} …" for text in (error.what, error.fix))
        raise ConfigError(f"{place}: {what}", fix) from error


def read_model_yaml(cfg: Mapping | str | Path) -> tuple[dict[str, Any], str]:
    """Return a copy of the model's YAML data, its scale chosen, and what to call it in errors.

    A bare name is searched in ``models``; ``yolov8s`` is scale s of ``yolov8.yaml``.
    """
    if isinstance(cfg, Mapping):
        data, source, letter = copy.deepcopy(dict(cfg)), "model", ""
    else:
        path, letter, data = find_model_yaml(cfg)
        source = str(path)
    if not isinstance(data, dict):
        raise ConfigError(f"{source}: not a model YAML", f"it needs the keys {', '.join(dialect_of({}).required)}")
    data = choose_scale(_renamed(data), source, letter)
    if data.get("names"):
        data["names"] = read_class_names(data["names"], source)
        if not isinstance(cfg, Mapping) and len(data["names"]) != data.get("nc"):
            what = f"nc is {data.get('nc')!r}, but names has {len(data['names'])} classes"
            raise ConfigError(f"{source}: {what}", "correct nc, or remove names: training takes those of the data set")
    return data, source


def _renamed(data: dict[str, Any]) -> dict[str, Any]:
    """Return the data with our names for keys that YAMLs saved by other programs have."""
    data = {key: value for key, value in data.items() if key != "yaml_file"}  # where it came from
    channels = data.pop("channels", None)
    return data if channels is None else {"ch": channels} | data


def class_names(data: Mapping[str, Any]) -> dict[int, str]:
    """Return the names in a model's YAML data where it has one for each class, else the ids as text."""
    names = data.get("names") or {}
    return dict(names) if len(names) == data["nc"] else {index: str(index) for index in range(data["nc"])}


@dataclass(frozen=True)
class Row:
    """One ``[from, number, module, args]``; outputs are kept under slots, −1 is the image."""

    index: int  # in backbone + head, and in state-dict keys
    slot: int  # where ``from`` of later rows finds the output; the last of five for a backbone
    written: list[int | str]  # ``from`` as it stands in the YAML
    sources: tuple[int, ...]  # the slots that it means
    number: int
    name: str
    entry: LayerEntry | BackboneEntry
    args: list

    @property
    def is_backbone(self) -> bool:
        return isinstance(self.entry, BackboneEntry)

    @property
    def is_head(self) -> bool:
        return not self.is_backbone and self.entry.wiring in HEADS

    @property
    def reads_list(self) -> bool:
        return not self.is_backbone and self.entry.wiring in ("concat", *HEADS)

    @property
    def kept(self) -> tuple[int, ...]:
        """The sources that must be kept for this row, because they are not simply the output before it."""
        return tuple(slot for slot, value in zip(self.sources, self.written, strict=True) if value != -1)

    def pick(self, outputs: Mapping[int, Any]) -> Any:
        """Return what this row reads: a map, or a list of maps."""
        picked = [outputs[slot] for slot in self.sources]
        return picked if self.reads_list else picked[0]


def read_rows(data: Mapping[str, Any], source: str = "") -> list[Row]:
    """Return the checked rows of backbone and head. Raises: ConfigError naming ``source``, if given, and the row."""
    prefix = f"{source}: " if source else ""
    rows: list[Row] = []
    dialect = dialect_of(data)
    for index, raw in enumerate([*data["backbone"], *data["head"]]):
        with at(f"{prefix}row {index}"):
            rows.append(_read_row(index, raw, dialect, behind_backbone=bool(rows) and rows[0].is_backbone))
    found = [row.index for row in rows if row.is_head]
    if found != [len(rows) - 1]:
        stands = f"row {', '.join(map(str, found))}" if found else "none"
        raise ConfigError(
            f"{prefix}the last row must be the one head, found {stands} of {len(rows)} rows",
            f"end 'head' with one row such as [[17, 20, 23], 1, Detect, {dialect.head_args}]",
        )
    return rows


def level_slots(rows: Sequence[Row]) -> list[int]:
    """Return the slots of the backbone's levels that later rows read; none without a backbone row."""
    read = {slot for row in rows[1:] for slot in row.sources if slot < len(LEVELS)}
    return sorted(read) if rows[0].is_backbone else []


def reduction_of(slot: int) -> int:
    """Return the stride of the level in a slot of a backbone row: P1 in slot 0 has stride 2."""
    return 2 ** (slot + 1)


def _read_row(index: int, raw: Any, dialect: Dialect, behind_backbone: bool) -> Row:
    if not isinstance(raw, list) or len(raw) != 4:
        raise ConfigError(f"{raw!r} is not [from, number, module, args]", "write four parts: [-1, 1, Conv, [64, 3, 2]]")
    written, number, name, args = raw
    if not is_count(number) or number > MAX_REPEATS:
        raise ConfigError(
            f"number {number!r} is not a whole number from 1 to {MAX_REPEATS}", "give how often the row is repeated"
        )
    if not isinstance(args, list):
        raise ConfigError(f"args {args!r} is not a list", f"write [{args}]")
    entry = find_layer(name, dialect)
    dialect.check_head(str(name), args)
    if isinstance(entry, BackboneEntry):
        return _read_backbone_row(index, raw, entry)
    slot = index + len(LEVELS) - 1 if behind_backbone else index
    written = written if isinstance(written, list) and written else [written]
    sources = _read_sources(written, slot, LEVELS if behind_backbone else ())
    row = Row(index, slot, written, sources, number, name, entry, args)
    if len(sources) != 1 and not row.reads_list:
        raise ConfigError(f"from {written!r}: {name} reads one map, not {len(sources)}", "join them by Concat first")
    return row


def find_layer(name: Any, dialect: Dialect) -> LayerEntry | BackboneEntry:
    """Return the layer or backbone that a row calls ``name``. Raises: ConfigError with the closest names."""
    name = str(name)
    if entry := dialect.layer(name):
        return entry
    entry = TORCH_LAYERS.get(name) or resolve_backbone(name)
    if entry is None:
        hint = suggest(name, chain(LAYERS, TORCH_LAYERS, *known_backbones().values()))
        raise ConfigError(f"unknown layer {name!r}", hint or LISTS)
    return entry


def _read_backbone_row(index: int, raw: list, entry: BackboneEntry) -> Row:
    written, number, name, args = raw
    if index != 0:
        raise ConfigError(f"{name} is a backbone and reads the image", "make it the first row of 'backbone'")
    if written not in (-1, [-1]) or number != 1:
        raise ConfigError(f"{name} is a backbone, its row starts with {written!r}, {number}", "write [-1, 1, …]")
    return Row(0, len(LEVELS) - 1, [-1], (-1,), 1, name, entry, args)


def _read_sources(written: list, slot: int, levels: Sequence[str]) -> tuple[int, ...]:
    """Resolve ``from`` to slots: negative numbers count back from ``slot``, level names are slots of the backbone."""
    sources = []
    for value in written:
        number = levels.index(value) if value in levels else value
        if isinstance(number, bool) or not isinstance(number, int):
            hint = f"give a number{' or one of ' if levels else ''}{', '.join(levels)}"
            raise ConfigError(f"from {written!r}: {value!r} is no row", hint)
        absolute = number if number >= 0 else slot + number
        if number != -1 and not 0 <= absolute < slot:
            raise ConfigError(f"from {written!r}: {value} is out of range", f"give -1, or a number below {slot}")
        sources.append(absolute)
    return tuple(sources)
