"""From a checked row to a constructor call: arguments, scaling by width and depth, channel arithmetic."""

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from models.dialects import dialect_of
from models.layers.activation import parse_activation
from models.parse import MAX_REPEATS, Row
from utils.errors import ConfigError
from utils.predictions import BN5C

DEPTHWISE_HEAD = ("C3k2", "A2C2f", "C2fCIB")  # rows of YOLO11 and later, whose heads have depthwise class branches
C3K_SCALES = ("m", "l", "x")
CHANNEL_MULTIPLE = 8  # of which channels are, where the YAML says nothing


def scaled_channels(wanted: float, width: float, multiple: int = CHANNEL_MULTIPLE) -> int:
    """Return ``wanted`` channels × ``width``, rounded up to a multiple."""
    return math.ceil(wanted * width / multiple) * multiple


@dataclass(frozen=True)
class Scaling:
    """What the top level of the YAML does to the numbers of a row."""

    width: float
    depth: float
    multiple: int  # of which channels are
    names: dict[str, Any]  # what a string argument may stand for
    limit: float = math.inf  # most channels, before scaling
    outputs: int = 0  # channels of a map of the head, which YOLOv5 never scales
    scale: str = ""  # the letter
    head: Mapping[str, Any] = field(default_factory=dict)  # what the anchor-free head takes besides nc

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Scaling":
        """Read the top level of a checked model YAML, and what its rows decide together."""
        dialect = dialect_of(data)
        names = {"nc": data["nc"], "None": None, "True": True, "False": False}
        depth, width, limit = (data.get("depth_multiple", 1.0), data.get("width_multiple", 1.0), math.inf)
        outputs = 0
        if "scales" in data:
            depth, width, limit = data["scales"][data["scale"]]
        if dialect.has_anchors:
            anchors = names["anchors"] = data["anchors"]
            per_cell = anchors if isinstance(anchors, int) else len(anchors[0]) // 2
            outputs = 0 if dialect.is_yolov8 else per_cell * BN5C.channels(data["nc"])
        is_depthwise = any(row[2] in DEPTHWISE_HEAD for row in (*data["backbone"], *data["head"]))
        return cls(
            width=width,
            depth=depth,
            multiple=data.get("channel_multiple", CHANNEL_MULTIPLE),
            names=names,
            limit=limit,
            outputs=outputs,
            scale=data.get("scale") or "",
            head={key: data[key] for key in ("reg_max", "class_width") if key in data} | {"depthwise": is_depthwise},
        )

    def channels(self, args: list) -> int:
        """Return the output channels that the first argument of a row asks for."""
        wanted = args[0] if args else None
        if isinstance(wanted, bool) or not isinstance(wanted, int | float) or not 0 < wanted < math.inf:
            raise ConfigError(
                f"args {args!r} must start with the number of output channels", "write them as [channels, …]"
            )
        if wanted == self.outputs:
            return wanted
        return scaled_channels(min(wanted, self.limit), self.width, self.multiple)

    def repeats(self, number: int) -> int:
        """Return how often a row is repeated."""
        scaled = max(round(number * self.depth), 1) if number > 1 else number
        if scaled > MAX_REPEATS:
            raise ConfigError(
                f"{number} repeats × depth {self.depth} are more than {MAX_REPEATS}", "lower one of the two"
            )
        return scaled

    def arguments(self, args: list) -> list:
        """Return the arguments with names, literals and activations in the place of strings."""
        return [self._argument(value) if isinstance(value, str) else value for value in args]

    def _argument(self, text: str) -> Any:
        if text in self.names:
            return self.names[text]
        if text.startswith("nn."):
            return parse_activation(text)
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return text


@dataclass(frozen=True)
class Call:
    """Constructor arguments, how many modules to make with them, and their output channels."""

    args: list
    copies: int
    out_channels: int
    keywords: Mapping[str, Any] = field(default_factory=dict)


def wire(row: Row, inputs: list[int], scaling: Scaling) -> Call:
    """Return the call of a layer row whose sources have ``inputs`` channels."""
    wiring = WIRINGS[row.entry.wiring]
    return wiring(scaling.arguments(row.args), inputs, scaling.repeats(row.number), scaling)


def _conv(args: list, inputs: list[int], repeats: int, scaling: Scaling) -> Call:
    out = scaling.channels(args)
    return Call([inputs[0], out, *args[1:]], repeats, out)


def _csp(args: list, inputs: list[int], repeats: int, scaling: Scaling) -> Call:
    out = scaling.channels(args)
    return Call([inputs[0], out, repeats, *args[1:]], 1, out)


def _same(args: list, inputs: list[int], repeats: int, scaling: Scaling) -> Call:
    return Call(args, repeats, inputs[0])


def _norm(args: list, inputs: list[int], repeats: int, scaling: Scaling) -> Call:
    return Call([inputs[0]], repeats, inputs[0])


def _concat(args: list, inputs: list[int], repeats: int, scaling: Scaling) -> Call:
    return Call(args, repeats, sum(inputs))


def _contract(args: list, inputs: list[int], repeats: int, scaling: Scaling) -> Call:
    return Call(args, repeats, inputs[0] * _gain(args) ** 2)


def _expand(args: list, inputs: list[int], repeats: int, scaling: Scaling) -> Call:
    return Call(args, repeats, inputs[0] // _gain(args) ** 2)


def _head(args: list, inputs: list[int], repeats: int, scaling: Scaling) -> Call:
    return Call([*args, inputs], 1, 0)


def _anchor_free_head(args: list, inputs: list[int], repeats: int, scaling: Scaling) -> Call:
    return Call([args[0], inputs], 1, 0, scaling.head)


def _c3k2(args: list, inputs: list[int], repeats: int, scaling: Scaling) -> Call:
    """The larger scales have C3k blocks inside, whatever the row says."""
    if scaling.scale in C3K_SCALES:
        args = [args[0], True, *args[2:]]
    return _csp(args, inputs, repeats, scaling)


def _gain(args: list) -> int:
    gain = args[0] if args else 2
    if not isinstance(gain, int) or gain < 1:
        raise ConfigError(f"gain {gain!r} is not a positive whole number", "give 2, or another whole number from 1")
    return gain


WIRINGS: dict[str, Callable[[list, list[int], int, Scaling], Call]] = {
    "conv": _conv,  # (c1, c2, …)
    "csp": _csp,  # (c1, c2, repeats, …): the block repeats inside
    "same": _same,  # arguments as they stand, channels stay
    "norm": _norm,  # (c1)
    "concat": _concat,
    "contract": _contract,
    "expand": _expand,
    "head": _head,  # (…, list of c1)
    "anchor_free_head": _anchor_free_head,  # (nc, list of c1, reg_max=…, depthwise=…)
    "c3k2": _c3k2,  # as csp
}
