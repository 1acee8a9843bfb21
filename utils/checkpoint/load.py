"""Load weights files, ours and official ones, as data or as a model."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from models.detector import DetectionModel
from models.heads.detect import Detect
from utils.checkpoint.archive import Archive
from utils.checkpoint.container import OURS_OR_OFFICIAL
from utils.checkpoint.content import FUSED, START_FROM_STATE, Checkpoint, read_state
from utils.checkpoint.layers import OTHER_CODE, adopt_layers
from utils.checkpoint.native import is_native, read_native
from utils.checkpoint.official import read_official
from utils.checkpoint.safetensors_file import SUFFIX, SafetensorsArchive
from utils.checkpoint.tables import RefusedError, TensorRecord, describe
from utils.errors import CheckpointError, ConfigError


def load_weights(path: str | Path, use_ema: bool = True) -> Checkpoint | dict[str, Tensor]:
    """Return a checkpoint as ``load_checkpoint`` does, or the tensors of a file that is nothing but a state_dict."""
    archive = open_archive(path)
    bare = _bare_state(archive.root)
    if bare is not None:
        return read_state(archive, bare)
    try:
        return read_native(archive) if is_native(archive.root) else read_official(archive, use_ema)
    except RefusedError as reason:
        raise CheckpointError(f"{path}: refused: it contains {reason}", OURS_OR_OFFICIAL) from reason


def open_archive(path: str | Path) -> Archive | SafetensorsArchive:
    """Return what a weights file holds, not interpreted yet. Raises: CheckpointError."""
    return (SafetensorsArchive if Path(path).suffix.lower() == SUFFIX else Archive)(path)


def load_checkpoint(path: str | Path, use_ema: bool = True) -> Checkpoint:
    """Return a checkpoint, ours or an official one of YOLOv5 or YOLOv8, as plain data and tensors; nothing executes.

    ``use_ema`` prefers the moving average that an unfinished official training stores beside its model.
    Raises: CheckpointError when the file is missing, damaged, foreign or inconsistent.
    """
    found = load_weights(path, use_ema)
    if isinstance(found, dict):
        raise CheckpointError(f"{path}: weights without a model description (a bare state_dict)", START_FROM_STATE)
    return found


def load_model(path: str | Path) -> DetectionModel:
    """Return the model of a checkpoint: float32, in eval mode, not fused. Raises: CheckpointError."""
    return build_model(load_checkpoint(path))


def build_model(checkpoint: Checkpoint) -> DetectionModel:
    """Return the model that a checkpoint describes, as ``load_model`` does. Raises: CheckpointError."""
    try:
        model = DetectionModel(checkpoint.yaml, load_backbone=False)
    except ConfigError as error:
        raise CheckpointError(f"{checkpoint.path}: its model description is wrong: {error.what}", error.fix) from error
    _check_fit(model, checkpoint)
    model.load_state_dict(checkpoint.state)
    adopt_layers(model, checkpoint.layers, checkpoint.path)
    model.names = checkpoint.names
    return model.eval()


def _bare_state(root: Any) -> dict[str, TensorRecord] | None:
    """Return the tensors of a file that is nothing but a state_dict, plain or under one of its usual names."""
    if not isinstance(root, dict) or is_native(root):
        return None
    for table in (root, root.get("state_dict"), root.get("model")):
        if type(table) is dict and table and all(type(value) is TensorRecord for value in table.values()):
            return table
    return None


def _check_fit(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Raises: CheckpointError naming the first tensor that is missing, left over or of another shape."""
    own, state = model.state_dict(), checkpoint.state
    for key in own | state:
        if key in own and key in state and own[key].shape == state[key].shape:
            continue
        in_file = f"{tuple(state[key].shape)} in the file" if key in state else "missing in the file"
        in_model = f"{tuple(own[key].shape)} in the model" if key in own else "not part of the model"
        raise CheckpointError(
            f"{checkpoint.path}: tensor {describe(key)} is {in_file} but {in_model} that its yaml describes"
            f"{_head_note(model.head, state.get(key), own.get(key))}",
            FUSED if key.endswith(".bn.weight") and key.replace("bn.weight", "conv.bias") in state else OTHER_CODE,
        )


def _head_note(head: nn.Module, theirs: Tensor | None, ours: Tensor | None) -> str:
    """Return what a last convolution (A·outputs, …) of another width says: forks predict angles, points, masks too."""
    if not isinstance(head, Detect):
        return ""
    last = [value for conv in head.m for value in conv.state_dict().values()]
    if (
        theirs is None
        or theirs.ndim == 0
        or not any(ours is not None and ours.data_ptr() == v.data_ptr() for v in last)
    ):
        return ""
    found = theirs.shape[0] / head.na
    return f": its head gives {found:g} numbers per box instead of {head.no}, 5 and one per class"
