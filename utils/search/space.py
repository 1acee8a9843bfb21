"""The hyper-parameters that a search varies, each with its range.

A file of --evolve-space has a line for each, or a list of names whose ranges are known:

    lr0: [1e-4, 0.1, log]      # from 0.0001 to 0.1, as often below as above their geometric mean
    close_mosaic: [0, 20, int]
    fliplr:                    # the range of YOLOv5
"""

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from utils.data.mosaic.transforms._listed import LIST, REPLACED
from utils.errors import ConfigError
from utils.hyper import limits
from utils.losses._contract import LossEntry
from utils.registry import suggest
from utils.training.hyp import known_hyper
from utils.yaml_file import read_yaml

LOG, INT = "log", "int"
DIGITS = 5  # of a value, which files and tables so show as it was


@dataclass(frozen=True)
class Range:
    """From ``low`` to ``high``, both included; ``kind`` is empty, ``log`` or ``int``."""

    low: float
    high: float
    kind: str = ""

    def clip(self, value: float) -> float:
        """Return the value of the range that is nearest to another one."""
        nearest = min(max(value, self.low), self.high)
        return round(nearest) if self.kind == INT else float(nearest)

    def shown(self) -> str:
        return f"{self.low:g} to {self.high:g}{f' ({self.kind})' if self.kind else ''}"

    def as_list(self) -> list[Any]:
        """Return it as a file has it."""
        return [part for part in astuple(self) if part != ""]


Space = Mapping[str, Range]

GENES: Space = {  # what YOLOv5's --evolve varies, and from where to where
    "hsv_h": Range(0, 0.1),
    "hsv_s": Range(0, 0.9),
    "hsv_v": Range(0, 0.9),
    "degrees": Range(0, 45),
    "translate": Range(0, 0.9),
    "scale": Range(0, 0.9),
    "shear": Range(0, 10),
    "perspective": Range(0, 0.001),
    "flipud": Range(0, 1),
    "fliplr": Range(0, 1),
    "mosaic": Range(0, 1),
    "mixup": Range(0, 1),
    "copy_paste": Range(0, 1),
}
OTHERS: Space = {  # in its table besides, with ranges that it does not use
    "lr0": Range(1e-5, 0.1, LOG),
    "lrf": Range(0.01, 1, LOG),
    "momentum": Range(0.6, 0.98),
    "weight_decay": Range(0, 0.001),
    "warmup_epochs": Range(0, 5),
    "warmup_momentum": Range(0, 0.95),
    "warmup_bias_lr": Range(0, 0.2),
    "box": Range(0.02, 0.2),
    "cls": Range(0.2, 4),
    "cls_pw": Range(0.5, 2),
    "obj": Range(0.2, 4),
    "obj_pw": Range(0.5, 2),
    "anchor_t": Range(2, 8),
    "anchors": Range(2, 10, INT),
    "fl_gamma": Range(0, 2),
}


def read_space(path: str, loss: LossEntry, hyp: Mapping[str, Any]) -> Space:
    """Return the space of a file, without one that of YOLOv5; ``hyp`` are the values that the search starts from.

    What a list of transforms takes the place of is not searched. Raises: ConfigError naming the file and the key.
    """
    replaced = () if hyp.get(LIST) is None else REPLACED
    if not path:
        return {key: item for key, item in GENES.items() if key not in replaced}
    data = read_yaml(path)
    if isinstance(data, list) and all(isinstance(name, str) for name in data):
        data = dict.fromkeys(data)
    if not isinstance(data, dict) or not data:
        raise ConfigError(f"{path}: no hyper-parameters to search", "write one a line, as 'lr0: [1e-4, 0.1, log]'")
    for key in data:
        if key in replaced:
            raise ConfigError(f"{path}: {key}: the list {LIST} of the hyper-parameters takes its place", "remove it")
    return {str(key): _range(f"{path}: {key}", str(key), value, loss, hyp) for key, value in data.items()}


def _range(where: str, key: str, value: Any, loss: LossEntry, hyp: Mapping[str, Any]) -> Range:
    known = known_hyper(loss)
    if key not in known:
        raise ConfigError(f"{where}: no hyper-parameter of this model", suggest(key, known) or "remove it")
    found = _known_range(where, key, hyp) if value is None else _given_range(where, value)
    low, high = limits(known[key])
    if not low <= found.low < found.high <= high:
        raise ConfigError(
            f"{where}: {found.shown()}", f"give a lower and a higher number, both from {low:g} to {high:g}"
        )
    if found.kind == LOG and found.low <= 0:
        raise ConfigError(f"{where}: a range with 'log' begins above 0", "give a small number, such as 1e-5")
    return found


def _known_range(where: str, key: str, hyp: Mapping[str, Any]) -> Range:
    """Return the range of YOLOv5; the gains of another head's loss may have a name of its, and quite other values."""
    found, fix = (GENES | OTHERS).get(key), f"give one, as '{key}: [LOW, HIGH]'"
    if found is None:
        raise ConfigError(f"{where}: no range is known for it", fix)
    if hyp[key] is not None and not found.low <= hyp[key] <= found.high:
        raise ConfigError(f"{where}: the range of YOLOv5, {found.shown()}, lacks the value of now, {hyp[key]:g}", fix)
    return found


def _given_range(where: str, value: Any) -> Range:
    parts = value if isinstance(value, list) else []
    kind = parts[2] if len(parts) == 3 else ""
    numbers = [part for part in parts[:2] if isinstance(part, int | float) and not isinstance(part, bool)]
    numbers = [number for number in numbers if math.isfinite(number)]
    if len(parts) not in (2, 3) or len(numbers) < 2 or kind not in ("", LOG, INT):
        raise ConfigError(
            f"{where}: {value!r} is not a range", "write [LOW, HIGH], [LOW, HIGH, log] or [LOW, HIGH, int]"
        )
    if kind == INT and any(number != int(number) for number in numbers):
        raise ConfigError(f"{where}: a range with 'int' has whole numbers", "give such")
    return Range(*numbers, kind)


def draw(trial: Any, space: Space) -> dict[str, float]:
    """Return the values of a trial of Optuna, of five digits."""
    values = {}
    for name, item in space.items():
        if item.kind == INT:
            values[name] = trial.suggest_int(name, int(item.low), int(item.high))
        else:
            value = trial.suggest_float(name, item.low, item.high, log=item.kind == LOG)
            values[name] = item.clip(float(f"{value:.{DIGITS}g}"))
    return values
