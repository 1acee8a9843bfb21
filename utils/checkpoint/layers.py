"""Compare what an official file says of each layer with the model that was built from its YAML.

Keys and shapes of a state dict show no stride, padding, activation or epsilon, and older versions of YOLOv5 hard-coded
some of them. What can be adopted exactly is adopted, anything else that differs is refused.
"""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from models.layers.activation import PLAIN
from utils.errors import CheckpointError

LayerFacts = dict[str, tuple[str, dict[str, Any]]]  # path in the model → class name, attributes

OTHER_CODE = "it was trained with other code; use it there, or train this model here"
_GEOMETRY = (
    *("kernel_size", "stride", "padding", "output_padding", "dilation", "groups", "padding_mode", "ceil_mode"),
    *("size", "scale_factor", "mode", "align_corners", "num_heads", "key_dim", "head_dim"),
    *("add", "d", "gain"),
)
_SPPF = {"n": 3, "add": False}  # pools in a chain, shortcut: of an SPPF that does not say


def activation_text(layers: LayerFacts) -> str | None:
    """Return the one activation of all Conv layers as a model YAML writes it, or None where they differ."""
    convs = [path for path, (kind, _) in layers.items() if kind in ("Conv", "DWConv")]
    found = {_describe(*layers[f"{path}.act"]) for path in convs if f"{path}.act" in layers} - {"nn.Identity()"}
    return found.pop() if len(found) == 1 else None


def _describe(kind: str, attributes: dict[str, Any]) -> str:
    settings = {key: attributes[key] for key in _settings(kind) if key in attributes}
    return f"nn.{kind}({', '.join(f'{key}={value!r}' for key, value in settings.items())})"


def _settings(kind: str) -> list[str]:
    """Return the arguments of an activation that change its values."""
    return [key for key in getattr(PLAIN.get(kind), "__constants__", ()) if key != "inplace"]


def adopt_layers(model: nn.Module, layers: LayerFacts, path: Path) -> None:
    """Give the model, in place, the activations and norm settings of the file.

    Raises: CheckpointError naming the first layer whose geometry differs.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, (kind, attributes) in layers.items():
        own = modules.get(name)
        if own is None:
            continue
        if kind in PLAIN and _describe(kind, attributes) != _describe(type(own).__name__, vars(own)):
            parent, _, child = name.rpartition(".")
            activation = PLAIN[kind](**{key: attributes[key] for key in _settings(kind) if key in attributes})
            setattr(modules[parent], child, activation)
        elif name.endswith(".act") and kind not in (*PLAIN, type(own).__name__):
            raise CheckpointError(
                f"{path}: layer {name} is a {kind} in the file but a {type(own).__name__} here", OTHER_CODE
            )
        elif isinstance(own, nn.BatchNorm2d) and type(attributes.get("eps")) is float:
            own.eps = attributes["eps"]
        _check_geometry(own, name, attributes, path)


def _check_geometry(own: nn.Module, name: str, attributes: dict[str, Any], path: Path) -> None:
    known = _SPPF if type(own).__name__ == "SPPF" else {}
    known = known | {key: getattr(own, key) for key in _GEOMETRY if hasattr(own, key)}
    for key in (key for key in known if key in attributes):
        theirs, ours = attributes[key], known[key]
        if not isinstance(ours, Tensor) and _as_pair(theirs) != _as_pair(ours):
            raise CheckpointError(
                f"{path}: layer {name} has {key} {theirs!r:.40} in the file but {ours!r} in the model of its yaml",
                OTHER_CODE,
            )


def _as_pair(value: Any) -> Any:
    """Return one number as (height, width), so that 3 and (3, 3) compare equal."""
    return (value, value) if type(value) in (int, float) else value
