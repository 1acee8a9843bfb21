"""Official YOLOv5 checkpoints: find the model in the inert tree of a pickled file and read it as a Checkpoint."""

from pathlib import Path
from typing import Any

from utils.checkpoint.archive import Archive
from utils.checkpoint.container import OURS_OR_OFFICIAL
from utils.checkpoint.content import MAX_VALUES, START_FROM_STATE, Checkpoint, check_names, plain, read_state
from utils.checkpoint.layers import activation_text
from utils.checkpoint.tables import Node, NumpyArray, RefusedError, TensorRecord, describe
from utils.errors import CheckpointError

MAX_MODULES = 100_000
MAX_LEVELS = 10
MAX_PATH = 300  # characters of a dotted module path; ends the walk of a tree that contains itself
_OWN_CLASSES = {"models.yolo.Model", "models.yolo.DetectionModel"}
_OTHER_TASKS = {"models.yolo.SegmentationModel": "segmentation", "models.yolo.ClassificationModel": "classification"}
STATE_ALONE = "save its state_dict alone with the code that wrote it"
_RECOMPUTED = "anchor_grid"  # a buffer until YOLOv5 v5.0; follows from the anchors


def read_official(archive: Archive, use_ema: bool) -> Checkpoint:
    """Return the moving average of the weights if ``use_ema`` and present, else the model itself.

    Raises: CheckpointError when the file holds no detection model, RefusedError for odd content.
    """
    root, path = archive.root, archive.path
    model = _find_model(root, path, use_ema)
    modules = walk_modules(model)
    facts = model.state
    yaml = plain(facts.get("yaml"))
    if not isinstance(yaml, dict):
        raise CheckpointError(
            f"{path}: its model carries no description ('yaml')", f"{STATE_ALONE}; {START_FROM_STATE}"
        )
    layers = {name: _layer_facts(node) for name, node in modules.items()}
    activation = activation_text(layers)
    if activation not in (None, "nn.SiLU()"):  # YOLOv5 before v4.0 hard-coded others and did not say so in the yaml
        yaml.setdefault("activation", activation)
    nc, names = yaml.get("nc"), plain(facts.get("names"))
    if names is None and type(nc) is int:  # files of 2020
        names = [str(index) for index in range(min(nc, MAX_VALUES))]
    return Checkpoint(
        path=path,
        yaml=yaml,
        names=check_names(path, names, nc),
        state=read_state(archive, _state_records(modules)),
        stride=_stride(archive, facts.get("stride")),
        epoch=root["epoch"] if type(root.get("epoch")) is int else -1,
        facts={
            "format": "official",
            "best_fitness": _number(root.get("best_fitness")),
            "imgsz": None,
            "training": {"opt": _options(plain(root.get("opt"))), "date": plain(root.get("date"))}
            | ({"hyp": plain(facts["hyp"])} if "hyp" in facts else {}),
        },
        layers=layers,
    )


def _find_model(root: Any, path: Path, use_ema: bool) -> Node:
    if not isinstance(root, dict) or "model" not in root:
        raise CheckpointError(
            f"{path}: holds a {type(root).__name__} without an entry 'model'; not a checkpoint", OURS_OR_OFFICIAL
        )
    model = (root.get("ema") if use_ema else None) or root["model"]
    kind = str(model.kind) if type(model) is Node else type(model).__name__
    if kind in _OTHER_TASKS:
        raise CheckpointError(
            f"{path}: a {_OTHER_TASKS[kind]} model; only detection models are supported",
            "use the detection weights of that size, such as yolov5s.pt for yolov5s-seg.pt",
        )
    if kind not in _OWN_CLASSES:
        raise CheckpointError(f"{path}: its entry 'model' is a {kind} instead of a detection model", OURS_OR_OFFICIAL)
    return model


def walk_modules(root: Node) -> dict[str, Node]:
    """Return every module by its dotted path ("" for the root). Raises: RefusedError for a tree that is none."""
    found: dict[str, Node] = {}
    waiting = [("", root)]
    while waiting:
        path, node = waiting.pop()
        found[path] = node
        if len(found) > MAX_MODULES or len(path) > MAX_PATH:
            raise RefusedError(f"more than {MAX_MODULES} modules or a module that contains itself")
        _refuse_code(path, node)
        for name, child in _table(node, "_modules").items():
            if type(child) is Node:
                waiting.append((f"{path}.{name}".lstrip("."), child))
            elif child is not None:
                raise RefusedError(f"{describe(child)} among the modules of {describe(path)}")
    return found


def _refuse_code(path: str, node: Node) -> None:
    """Hooks and a ``forward`` of one instance would change what the model computes; we could not follow."""
    hooked = any(value for key, value in node.state.items() if str(key).endswith("_hooks"))
    if hooked or node.state.get("forward") is not None:
        raise RefusedError(f"hooks or a forward of its own in the module {describe(path)}")


def _table(node: Node, key: str) -> dict[str, Any]:
    table = node.state.get(key, {})
    if type(table) is not dict or any(type(name) is not str for name in table):
        raise RefusedError(f"a {node.kind} whose {key} is not a table")
    return table


def _state_records(modules: dict[str, Node]) -> dict[str, TensorRecord]:
    """Return what ``state_dict()`` of the pickled model would return."""
    records = {}
    for path, node in modules.items():
        transient = plain(node.state.get("_non_persistent_buffers_set") or [])
        for name, value in {**_table(node, "_parameters"), **_table(node, "_buffers")}.items():
            if value is None or name in transient or name == _RECOMPUTED:
                continue
            if type(value) is not TensorRecord:
                raise RefusedError(f"{describe(value)} among the tensors of {describe(path)}")
            records[f"{path}.{name}".lstrip(".")] = value
    return records


def _layer_facts(node: Node) -> tuple[str, dict[str, Any]]:
    """Return the class name and the attributes that are numbers, texts or tuples of them."""
    public = {key: value for key, value in node.state.items() if not str(key).startswith("_")}
    kinds = (str, int, float, bool, type(None))
    return node.kind.name, {
        key: value
        for key, value in public.items()
        if type(value) in kinds or (type(value) is tuple and all(type(part) in kinds for part in value))
    }


def _stride(archive: Archive, value: Any) -> tuple[int, ...]:
    if type(value) is not TensorRecord or value.numel > MAX_LEVELS:
        return ()
    return tuple(archive.tensor(value).flatten().int().tolist())


def _options(opt: Any) -> dict[str, Any]:
    """Return the options of the training without what cannot be one: forks store what they like there."""
    options = opt if isinstance(opt, dict) else {}
    return {key: value for key, value in options.items() if key != "data" or isinstance(value, str)}


def _number(value: Any) -> float | None:
    """Return a fitness that may be a number, a NumPy number or an array of one number."""
    if type(value) is NumpyArray and value.value is not None and value.value.size == 1:
        return float(value.value.item())
    return float(value) if type(value) in (int, float) else None
