"""The model YAML in an official checkpoint of the YOLOv8 family, completed by what only its layers and tensors tell.

What comes out always has ``nc`` and ``ch``; it has ``scale`` where there are ``scales``, and
``activation`` where that is not SiLU.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from models.keys import OTHER_TASKS
from models.wiring import DEPTHWISE_HEAD, scaled_channels
from utils.checkpoint.layers import OTHER_CODE, LayerFacts, activation_text
from utils.errors import CheckpointError

_NOT_READ = ("yaml_file", "channels", "end2end", *OTHER_TASKS)

_CLASSIC_EXCEPTIONS = (64, 128, 256, 512, 1024)
_OUTPUT = {  # layer → its tensor whose first size is the output channels
    **dict.fromkeys(("Conv", "DWConv"), "conv.weight"),
    **dict.fromkeys(("C2f", "C3k2", "C2", "C2PSA", "C2fPSA", "PSA", "SPP", "SPPF", "Bottleneck"), "cv2.conv.weight"),
    **dict.fromkeys(("C3", "C3x", "C3TR", "C3Ghost"), "cv3.conv.weight"),
    "BottleneckCSP": "cv4.conv.weight",
    "C1": "cv1.conv.weight",
    "Focus": "conv.conv.weight",
}
_SCALED = (*_OUTPUT, "ConvTranspose", "GhostConv", "GhostBottleneck", "nn.ConvTranspose2d", "DWConvTranspose2d")


def complete_yaml(
    yaml: dict[str, Any], layers: LayerFacts, state: dict[str, Tensor], nc: int, path: Path
) -> dict[str, Any]:
    """Return the description for ``nc`` classes. Raises: CheckpointError where it cannot be made to fit the tensors."""
    ch = yaml.get("ch") or yaml.get("channels") or 3
    complete = {key: value for key, value in yaml.items() if key not in _NOT_READ} | {"nc": nc, "ch": ch}
    scales = yaml.get("scales")
    if type(scales) is dict and scales and not yaml.get("scale"):
        complete["scale"] = next(iter(scales))
    activation = activation_text(layers)
    if activation is not None:  # releases before 8.4 could leave the activation of one model to the next
        complete.pop("activation", None)
        complete |= {"activation": activation} if activation != "nn.SiLU()" else {}
    if nc in _CLASSIC_EXCEPTIONS:
        _undo_exceptions(complete, state, path)
    return complete


def has_depthwise_head(yaml: dict[str, Any]) -> bool:
    return any(row[2] in DEPTHWISE_HEAD for _, row in _layer_rows(yaml))


def _layer_rows(yaml: dict[str, Any]) -> Iterator[tuple[int, list]]:
    """Yield (index, row) of what looks like a row; who parses the YAML reports the others."""
    parts = [part for part in (yaml.get("backbone"), yaml.get("head")) if type(part) is list]
    for index, row in enumerate(row for part in parts for row in part):
        if type(row) is list and len(row) == 4 and type(row[2]) is str and type(row[3]) is list:
            yield index, row


def _undo_exceptions(yaml: dict[str, Any], state: dict[str, Tensor], path: Path) -> None:
    """Rewrite, in place, the rows that releases before 8.4 left unscaled because their width was the class count.

    They get the width that the scale turns into the real one. Where that is above the limit of the scale, the limit is
    applied to all other rows and lifted.
    """
    nc, (width, limit) = yaml["nc"], _width_and_limit(yaml, path)
    rows = [(index, row[3], row[2]) for index, row in _layer_rows(yaml) if row[2] in _SCALED and row[3]]
    unscaled = [
        args
        for index, args, name in rows
        if args[0] in (nc, "nc") and scaled_channels(min(nc, limit), width) != nc == _real_width(state, index, name)
    ]
    if not unscaled:
        return
    written = math.floor(nc / width)
    if scaled_channels(written, width) != nc:
        raise CheckpointError(
            f"{path}: a layer of {nc} channels was left unscaled, which the width multiple {width:g} cannot express",
            OTHER_CODE,
        )
    if written > limit:
        for _, args, _ in rows:
            asked = nc if args[0] == "nc" else args[0]
            args[0] = int(limit) if type(asked) is int and asked > limit else args[0]
        yaml["scales"][yaml["scale"]][2] = written
    for args in unscaled:
        args[0] = written


def _width_and_limit(yaml: dict[str, Any], path: Path) -> tuple[float, float]:
    """Return the width multiple and the largest width before it. Raises: CheckpointError for anything but numbers."""
    scales, letter = yaml.get("scales"), yaml.get("scale")
    if not scales:
        found = [yaml.get("width_multiple", 1.0), math.inf]
    else:
        row = scales.get(letter) if type(scales) is dict and type(letter) is str else None
        found = row[1:] if type(row) is list else []
    if len(found) != 2 or any(type(value) not in (int, float) for value in found) or not _sensible(*found):
        raise CheckpointError(f"{path}: its yaml does not say the width of its scale", OTHER_CODE)
    return found[0], found[1]


def _sensible(width: float, limit: float) -> bool:
    return 0.001 <= width <= 1000 and limit >= 1


def _real_width(state: dict[str, Tensor], index: int, name: str) -> int | None:
    """Return the output channels of a row, of its first layer where it has several; None where no tensor says."""
    places = (f"model.{index}", f"model.{index}.0") if name in _OUTPUT else ()
    sizes = [
        state[key].shape[0] for place in places if (key := f"{place}.{_OUTPUT[name]}") in state and state[key].ndim
    ]
    return sizes[0] if sizes else None
