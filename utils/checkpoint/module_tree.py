"""The tree of pickled modules in an official checkpoint: its modules by path, their tensors and their attributes."""

from pathlib import Path
from typing import Any

from utils.checkpoint.archive import Archive
from utils.checkpoint.content import FUSED, START_FROM_STATE, plain
from utils.checkpoint.tables import BoundMethod, Node, RefusedError, TensorRecord, describe
from utils.errors import CheckpointError

MAX_MODULES = 100_000
MAX_LEVELS = 10
MAX_PATH = 300  # characters of a dotted module path; ends the walk of a tree that contains itself
STATE_ALONE = "save its state_dict alone with the code that wrote it"
_RECOMPUTED = "anchor_grid"  # a buffer until YOLOv5 v5.0; follows from the anchors


def module_table(node: Node, key: str) -> dict[str, Any]:
    """Return the parameters, buffers or children of one module by name. Raises: RefusedError unless it is a table."""
    table = node.state.get(key, {})
    if type(table) is not dict or any(type(name) is not str for name in table):
        raise RefusedError(f"a {node.kind} whose {key} is not a table")
    return table


def walk_modules(root: Node, path: str = "") -> dict[str, Node]:
    """Return every module by its dotted path (``path`` for the root). Raises: RefusedError for a tree that is none."""
    found: dict[str, Node] = {}
    waiting = [(path, root)]
    while waiting:
        path, node = waiting.pop()
        found[path] = node
        if len(found) > MAX_MODULES or len(path) > MAX_PATH:
            raise RefusedError(f"more than {MAX_MODULES} modules or a module that contains itself")
        refuse_code(path, node)
        for name, child in module_table(node, "_modules").items():
            if type(child) is Node:
                waiting.append((f"{path}.{name}".lstrip("."), child))
            elif child is not None:
                raise RefusedError(f"{describe(child)} among the modules of {describe(path)}")
    return found


def refuse_code(path: str, node: Node) -> None:
    """Hooks and a ``forward`` of one instance would change what the model computes; we could not follow."""
    forward = node.state.get("forward")
    if forward == BoundMethod("forward_fuse"):
        raise RefusedError(f"the fused module {describe(path)}: {FUSED}")
    hooked = any(value for key, value in node.state.items() if str(key).endswith("_hooks"))
    if hooked or forward is not None:
        raise RefusedError(f"hooks or a forward of its own in the module {describe(path)}")


def state_records(modules: dict[str, Node]) -> dict[str, TensorRecord]:
    """Return what ``state_dict()`` of the pickled model would return."""
    records = {}
    for path, node in modules.items():
        transient = plain(node.state.get("_non_persistent_buffers_set") or [])
        for name, value in {**module_table(node, "_parameters"), **module_table(node, "_buffers")}.items():
            if value is None or name in transient or name == _RECOMPUTED:
                continue
            if type(value) is not TensorRecord:
                raise RefusedError(f"{describe(value)} among the tensors of {describe(path)}")
            records[f"{path}.{name}".lstrip(".")] = value
    return records


def layer_facts(node: Node) -> tuple[str, dict[str, Any]]:
    """Return the class name and the attributes that are numbers, texts or tuples of them."""
    public = {key: value for key, value in node.state.items() if not str(key).startswith("_")}
    kinds = (str, int, float, bool, type(None))
    return node.kind.name, {
        key: value
        for key, value in public.items()
        if type(value) in kinds or (type(value) is tuple and all(type(part) in kinds for part in value))
    }


def read_stride(archive: Archive, value: Any) -> tuple[int, ...]:
    """Return the strides of the levels, () where the file does not say."""
    if type(value) is not TensorRecord or value.numel > MAX_LEVELS:
        return ()
    return tuple(archive.tensor(value).flatten().int().tolist())


def read_description(model: Node, path: Path) -> dict[str, Any]:
    """Return the YAML that a model carries. Raises: CheckpointError when there is none."""
    yaml = plain(model.state.get("yaml"))
    if not isinstance(yaml, dict):
        raise CheckpointError(
            f"{path}: its model carries no description ('yaml')", f"{STATE_ALONE}; {START_FROM_STATE}"
        )
    return yaml
