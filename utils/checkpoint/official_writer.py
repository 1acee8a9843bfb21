"""Write a model as YOLOv5 does: a pickle of its modules, which an unmodified YOLOv5 checkout opens with its own loader.

Nothing of YOLOv5 is imported: classes are written by their names, and what their instances hold stands in tables here.
A layer is in the tables if its submodules and the listed attributes are all that its forward pass needs. ``C3TR``,
``C3x``, ``Contract`` and ``Expand`` need more, which is not known here; they are refused like layers of other projects.
"""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from models.detector import DetectionModel
from models.heads.detect import Detect
from models.layers.conv import Conv, DWConv, Focus
from models.layers.csp import C3, Bottleneck, BottleneckCSP
from models.layers.ghost import C3Ghost, GhostBottleneck, GhostConv
from models.layers.mixconv import MixConv2d
from models.layers.pooling import C3SPP, SPP, SPPF
from models.layers.routing import Concat
from utils.checkpoint.class_names import INERT
from utils.checkpoint.content import Checkpoint
from utils.checkpoint.native import saved
from utils.checkpoint.tables import describe
from utils.errors import CheckpointError

PROTOCOL = 2  # of the pickle, torch.save's
OTHER_FORMAT = "convert it --to safetensors, or export it to ONNX with export.py"
_COMMON = (BottleneckCSP, C3, C3Ghost, C3SPP, Conv, DWConv, Focus, GhostBottleneck, GhostConv, SPP, SPPF)
_LAYERS: dict[type, tuple[str, tuple[str, ...]]] = {  # class → module that has it in YOLOv5, attributes
    **dict.fromkeys(_COMMON, ("models.common", ())),
    Bottleneck: ("models.common", ("add",)),
    Concat: ("models.common", ("d",)),
    MixConv2d: ("models.experimental", ()),
    Detect: ("models.yolo", ("nc", "no", "nl", "na")),
}
_ROW = ("i", "f", "type", "np")  # place, sources, class and parameters of a row
_MODULE = tuple(vars(nn.Module()))  # attributes that every module has


def official_bytes(model: DetectionModel, checkpoint: Checkpoint, half: bool = False) -> memoryview:
    """Return a file that holds the model of a checkpoint as YOLOv5 writes one after its training; ``half`` in float16.

    Raises: CheckpointError for a model that YOLOv5 has no classes for, or that float16 cannot hold.
    """
    check_official(model, checkpoint.path)
    training = checkpoint.facts["training"] or {}
    content = {
        "epoch": -1,
        "best_fitness": None,
        "model": _Tree(model, torch.float16 if half else torch.float32, checkpoint).root(training.get("hyp")),
        "ema": None,
        "updates": None,
        "optimizer": None,
        "opt": training.get("opt"),
        "git": None,
        "date": training.get("date"),
    }
    return saved(content, pickle_module=SimpleNamespace(Pickler=_Pickler, __name__="pickle"), pickle_protocol=PROTOCOL)


def check_official(model: DetectionModel, path: Path) -> None:
    """Raises: CheckpointError naming the first part of the model that YOLOv5 lacks."""
    for what in _foreign(model):
        raise CheckpointError(f"{path}: {what}, which a YOLOv5 checkpoint cannot hold", OTHER_FORMAT)


def _foreign(model: DetectionModel) -> Iterator[str]:
    if not isinstance(model.normalize, nn.Identity):
        yield "its model normalises images by mean and std"
    if "scales" in model.yaml:
        yield "its model description has 'scales'"
    if model.yaml.get("bits", 8) != 8:
        yield "its model takes images of 16 bits"
    for row, module in zip(model.rows, model.model, strict=True):
        for part in module.modules():
            name = row.name if row.name == type(part).__name__ else f"{row.name} ({type(part).__name__})"
            if type(part) not in _LAYERS and not _is_torch(part):
                yield f"row {row.index} of its model is {describe(name)}"
            if isinstance(part, SPPF) and (part.repeats, part.add) != (3, False):
                yield f"row {row.index} of its model is an SPPF of {part.repeats} pools{' with a shortcut' * part.add}"


def _is_torch(module: nn.Module) -> bool:
    cls = type(module)
    return cls.__name__ in INERT.get(cls.__module__, "").split() and cls.__module__.startswith("torch.")


def class_path(cls: type) -> tuple[str, str]:
    """Return module and name of a class in YOLOv5, or in PyTorch."""
    return (_LAYERS[cls][0] if cls in _LAYERS else cls.__module__), cls.__name__


@dataclass(eq=False)
class _Instance:
    """An instance that is written: module and name of its class, and its attributes."""

    path: tuple[str, str]
    state: dict[str, Any]


class _Tree:
    """The instances that stand for the modules of a model, each as YOLOv5 would pickle it."""

    def __init__(self, model: DetectionModel, dtype: torch.dtype, checkpoint: Checkpoint) -> None:
        self.model, self.dtype, self.checkpoint = model, dtype, checkpoint
        self.activations: dict[str, _Instance] = {}  # YOLOv5's layers share one

    def root(self, hyp: Any) -> _Instance:
        model = self.model
        facts = {
            "yaml": self.checkpoint.yaml,
            "save": model.save,
            "names": self.checkpoint.names,
            "inplace": True,
            "stride": model.stride.clone(),
            "hyp": hyp or {},
            "nc": model.nc,
        }
        rows = self._state(model.model, "model")
        state = _empty_state() | {"_modules": {"model": _Instance(class_path(nn.Sequential), rows)}}
        return _Instance(("models.yolo", "DetectionModel"), state | facts)

    def _instance(self, module: nn.Module, name: str) -> _Instance:
        is_shared = name.endswith(".act") and not list(module.parameters())
        if is_shared and repr(module) in self.activations:
            return self.activations[repr(module)]
        instance = _Instance(class_path(type(module)), self._state(module, name))
        if is_shared:
            self.activations[repr(module)] = instance
        return instance

    def _state(self, module: nn.Module, name: str) -> dict[str, Any]:
        own = vars(module)
        state = _empty_state()
        for key, value in module._parameters.items():
            state["_parameters"][key] = (
                None if value is None else nn.Parameter(self._cast(value, f"{name}.{key}"), False)
            )
        for key, value in module._buffers.items():
            if key not in module._non_persistent_buffers_set:
                state["_buffers"][key] = None if value is None else self._cast(value, f"{name}.{key}")
        for key, child in module._modules.items():
            state["_modules"][key] = None if child is None else self._instance(child, f"{name}.{key}")
        known = (
            _LAYERS[type(module)][1]
            if type(module) in _LAYERS
            else [key for key in own if key not in (*_MODULE, *_ROW)]
        )
        state |= {key: own[key] for key in known}
        if isinstance(module, Detect):
            state |= self._grids(module) | {"inplace": True}
        if "np" in own:
            state |= {key: own[key] for key in _ROW} | {"type": ".".join(class_path(self._row_class(module)))}
        if isinstance(module, Detect):
            state["stride"] = self._cast(module.stride, f"{name}.stride")
        return state

    def _row_class(self, module: nn.Module) -> type:
        """Return the class that a row names, not the Sequential of its repeats; without a backbone row slot = index."""
        return self.model.rows[module.i].entry.cls

    def _grids(self, head: Detect) -> dict[str, list[Tensor]]:
        """Return what Detect keeps of the last image that it saw, here one of a single coarsest cell."""
        grids, anchors = [], []
        for stride, pairs in zip(head.stride.tolist(), head.anchors, strict=True):
            side = int(max(head.stride.tolist()) // stride)
            y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
            shape = 1, head.na, side, side, 2
            grids.append((torch.stack((x, y), dim=2) - 0.5).expand(shape))
            anchors.append((pairs * stride).view(1, head.na, 1, 1, 2).expand(shape))
        return {
            "grid": [self._cast(grid.float(), "grid") for grid in grids],
            "anchor_grid": [self._cast(grid, "anchor_grid") for grid in anchors],
        }

    def _cast(self, value: Tensor, name: str) -> Tensor:
        """Return a copy in the precision of the file. Raises: CheckpointError."""
        if not value.is_floating_point():
            return value.detach().clone()
        cast = value.detach().to(self.dtype).contiguous().clone()
        if not torch.isfinite(cast).all():
            what = f"{self.checkpoint.path}: tensor {describe(name)} holds values beyond float16's 65504"
            raise CheckpointError(what, "leave --half out")
        return cast


def _empty_state() -> dict[str, Any]:
    """Return the attributes of a module that holds nothing."""
    state = vars(nn.Module())
    return {
        key: dict(value) if key in ("_parameters", "_buffers", "_modules") else value for key, value in state.items()
    }


class _Pickler(pickle._Pickler):
    """Writes an ``_Instance`` as pickle writes one of the class that it names, without importing that."""

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if not isinstance(value, _Instance):
            return super().save(value, save_persistent_id)
        if id(value) in self.memo:
            return self.write(self.get(self.memo[id(value)][0]))
        self._save_class(value.path)
        self.save(())
        self.write(pickle.NEWOBJ)
        self.memoize(value)
        self.save(value.state)
        return self.write(pickle.BUILD)

    def _save_class(self, path: tuple[str, str]) -> None:
        known = self.memo.get(path)
        if known is not None:
            self.write(self.get(known[0]))
            return
        module, name = path
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode("ascii"))
        index = len(self.memo)
        self.write(self.put(index))
        self.memo[path] = index, path
