"""Official checkpoints: find the model in the inert tree of a pickled file and read it as a Checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from utils.checkpoint.archive import Archive
from utils.checkpoint.container import OURS_OR_OFFICIAL
from utils.checkpoint.content import Checkpoint
from utils.checkpoint.official_v5 import read_v5
from utils.checkpoint.official_v8 import read_v8
from utils.checkpoint.tables import Node
from utils.errors import CheckpointError

_READERS: dict[str, Callable[[Archive, Node], Checkpoint]] = {  # by the class of the model
    "models.yolo.Model": read_v5,
    "models.yolo.DetectionModel": read_v5,
    "ultralytics.nn.tasks.DetectionModel": read_v8,
}
_OTHER_TASKS = {"models.yolo.SegmentationModel": "segmentation", "models.yolo.ClassificationModel": "classification"}


def read_official(archive: Archive, use_ema: bool) -> Checkpoint:
    """Return the moving average of the weights if ``use_ema`` and present, else the model itself.

    Raises: CheckpointError when the file holds no detection model, RefusedError for odd content.
    """
    model = _find_model(archive.root, archive.path, use_ema)
    return _READERS[str(model.kind)](archive, model)


def _find_model(root: Any, path: Path, use_ema: bool) -> Node:
    if not isinstance(root, dict) or "model" not in root:
        raise CheckpointError(
            f"{path}: holds a {type(root).__name__} without an entry 'model'; not a checkpoint", OURS_OR_OFFICIAL
        )
    average = root.get("ema")
    model = average if use_ema and average else root["model"] or average  # newer trainers store the average alone
    kind = str(model.kind) if type(model) is Node else type(model).__name__
    if kind in _OTHER_TASKS:
        raise CheckpointError(
            f"{path}: a {_OTHER_TASKS[kind]} model; only detection models are supported",
            "use the detection weights of that size, such as yolov5s.pt for yolov5s-seg.pt",
        )
    if kind not in _READERS:
        raise CheckpointError(f"{path}: its entry 'model' is a {kind} instead of a detection model", OURS_OR_OFFICIAL)
    return model
