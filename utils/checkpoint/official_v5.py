"""Official YOLOv5 checkpoints: what their pickled model and training options say, as a Checkpoint."""

from typing import Any

from utils.checkpoint.archive import Archive
from utils.checkpoint.content import MAX_VALUES, Checkpoint, check_names, plain, read_number, read_state
from utils.checkpoint.layers import activation_text
from utils.checkpoint.module_tree import layer_facts, read_description, read_stride, state_records, walk_modules
from utils.checkpoint.tables import Node


def read_v5(archive: Archive, model: Node) -> Checkpoint:
    """Return what ``model``, in the root of the file, says of itself. Raises: CheckpointError, RefusedError."""
    root, path = archive.root, archive.path
    modules = walk_modules(model)
    facts = model.state
    yaml = read_description(model, path)
    layers = {name: layer_facts(node) for name, node in modules.items()}
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
        state=read_state(archive, state_records(modules)),
        stride=read_stride(archive, facts.get("stride")),
        epoch=root["epoch"] if type(root.get("epoch")) is int else -1,
        facts={
            "format": "official",
            "best_fitness": read_number(root.get("best_fitness")),
            "imgsz": None,
            "training": {"opt": _options(plain(root.get("opt"))), "date": plain(root.get("date"))}
            | ({"hyp": plain(facts["hyp"])} if "hyp" in facts else {}),
        },
        layers=layers,
    )


def _options(opt: Any) -> dict[str, Any]:
    """Return the options of the training without what cannot be one: forks store what they like there."""
    options = opt if isinstance(opt, dict) else {}
    return {key: value for key, value in options.items() if key != "data" or isinstance(value, str)}
