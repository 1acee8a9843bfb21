"""Official checkpoints of the YOLOv8 family (also YOLOv5u, YOLO11): what their pickled model says, as a Checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from models.keys import OTHER_TASKS
from utils.checkpoint.archive import Archive
from utils.checkpoint.container import OURS_OR_OFFICIAL
from utils.checkpoint.content import FUSED, Checkpoint, check_names, plain, read_number, read_state
from utils.checkpoint.layers import OTHER_CODE, LayerFacts
from utils.checkpoint.module_tree import (
    layer_facts,
    module_table,
    read_description,
    read_stride,
    refuse_code,
    state_records,
    walk_modules,
)
from utils.checkpoint.tables import Node, RefusedError, describe
from utils.checkpoint.v8_yaml import complete_yaml, has_depthwise_head
from utils.errors import CheckpointError
from utils.imgsz import MAX_IMGSZ


@dataclass(frozen=True)
class _Head:
    """What the tensors of the Detect layer say, whatever the description does."""

    nc: int
    reg_max: int
    class_width: int  # that of the class branch, which a fine-tuned file may have from another class count
    depthwise: bool  # the class branch of YOLO11, else that of YOLOv8


def read_v8(archive: Archive, model: Node) -> Checkpoint:
    """Return what ``model``, in the root of the file, says of itself. Raises: CheckpointError, RefusedError."""
    root, path = archive.root, archive.path
    refuse_code("", model)
    yaml = read_description(model, path)
    _refuse_other_tasks(model, yaml, path)
    modules = walk_modules(_rows(model), "model")  # a loss may stand beside them
    state = read_state(archive, state_records(modules))
    layers = {name: layer_facts(node) for name, node in modules.items()}
    _refuse_fused(state, path)
    head = _read_head(layers, state, path)
    yaml = complete_yaml(yaml, layers, state, head.nc, path)
    yaml |= {"reg_max": head.reg_max, "class_width": head.class_width}
    if head.depthwise != has_depthwise_head(yaml):
        real, told = ("YOLO11", "YOLOv8") if head.depthwise else ("YOLOv8", "YOLO11")
        raise CheckpointError(
            f"{path}: its head has the class branch of {real}, but the layers of its yaml go with that of {told}",
            OTHER_CODE,
        )
    names = plain(model.state.get("names"))
    options = root.get("train_args")
    return Checkpoint(
        path=path,
        yaml=yaml,
        names=check_names(path, [str(index) for index in range(head.nc)] if names is None else names, head.nc),
        state=state,
        stride=read_stride(archive, model.state.get("stride")),
        epoch=root["epoch"] if type(root.get("epoch")) is int else -1,
        facts={
            "format": "official",
            "best_fitness": read_number(root.get("best_fitness")),
            **_training(options.state if type(options) is Node else options, root.get("date")),
        },
        layers=layers,
    )


def _rows(model: Node) -> Node:
    rows = module_table(model, "_modules").get("model")
    if type(rows) is not Node:
        raise RefusedError(f"{describe(rows)} as the layers of a {model.kind}")
    return rows


def _refuse_other_tasks(model: Node, yaml: dict[str, Any], path: Path) -> None:
    """Files of other tasks usually have a model class of their own; see ``foreign.py`` for those."""
    told = []
    if yaml.get("end2end") or model.state.get("end2end"):
        told.append("a model with a second head for detection without suppression (end2end)")
    told += [f"a model for {task} ({key})" for key, task in OTHER_TASKS.items() if yaml.get(key)]
    task = model.state.get("task")
    if type(task) is str and task != "detect":
        told.append(f"a model for the task {describe(task)}")
    if told:
        raise CheckpointError(f"{path}: {told[0]}; only plain detection is supported", OURS_OR_OFFICIAL)


def _refuse_fused(state: dict[str, Tensor], path: Path) -> None:
    for key in state:
        layer = key.removesuffix(".conv.bias")
        if layer != key and f"{layer}.bn.weight" not in state:
            raise CheckpointError(f"{path}: its layer {describe(layer)} is a convolution without its norm", FUSED)


def _read_head(layers: LayerFacts, state: dict[str, Tensor], path: Path) -> _Head:
    """Read the last layer. Raises: CheckpointError unless it is the Detect layer of this family."""
    rows = [name for name in layers if name.removeprefix("model.").isdecimal()]
    last = max(rows, key=lambda name: int(name.removeprefix("model.")), default="model")
    box, classes = (_outputs(state.get(f"{last}.{branch}.0.2.weight")) for branch in ("cv2", "cv3"))
    kind = layers[last][0]
    if kind != "Detect" or not box or not classes or box % 4:
        raise CheckpointError(
            f"{path}: its last layer, the {kind} {last}, is not a detection head of YOLOv8 or YOLO11", OTHER_CODE
        )
    width = state[f"{last}.cv3.0.2.weight"].shape[1]
    return _Head(nc=classes, reg_max=box // 4, class_width=width, depthwise=f"{last}.cv3.0.0.0.conv.weight" in state)


def _outputs(weight: Tensor | None) -> int:
    """Return the output channels of a convolution, 0 for what is none."""
    return weight.shape[0] if weight is not None and weight.ndim == 4 else 0


def _training(options: Any, date: Any) -> dict[str, Any]:
    """Return data set and image size of the training; forks store what they like under these names."""
    told = options if type(options) is dict else {}
    data, imgsz = told.get("data"), told.get("imgsz")
    sides = imgsz if type(imgsz) in (list, tuple) and len(imgsz) == 2 else (imgsz,)
    if not all(type(side) is int and 1 <= side <= MAX_IMGSZ for side in sides):
        imgsz = None
    elif len(sides) == 2:
        imgsz = [*sides]  # height, width
    opt = {"data": data if type(data) is str else None, "imgsz": imgsz}
    opt = {key: value for key, value in opt.items() if value is not None}
    return {"imgsz": imgsz, "training": {"opt": opt, "date": date if type(date) is str else None}}
