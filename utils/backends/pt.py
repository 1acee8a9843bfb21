"""Run a checkpoint, ours or an official one, in PyTorch: fused, channels_last."""

import copy
from pathlib import Path

import torch
from torch import Tensor

from models.backbones import allow_user_file, is_user_name
from models.detector import DetectionModel
from models.tta import predict_augmented
from utils.checkpoint.facts import TrainingFacts, checkpoint_facts
from utils.checkpoint.layers import OTHER_CODE
from utils.checkpoint.load import build_model, load_checkpoint
from utils.errors import CheckpointError, ConfigError
from utils.predictions import Predictions


class PyTorchBackend:
    """A model, float32 unless it is changed."""

    augment = False  # whether each image is looked at in three sizes (see ``models.tta``)

    def __init__(self, model: DetectionModel, trained: TrainingFacts, device: torch.device) -> None:
        self.trained = trained
        self.model = model.fuse().to(device, memory_format=torch.channels_last)
        self.names = self.model.names
        self.layout = self.model.head.layout
        self.stride = self.model.size_multiple
        self.fixed_size = self.model.fixed_size
        self.channels, self.bits = self.model.yaml["ch"], self.model.yaml.get("bits", 8)

    @property
    def device(self) -> torch.device:
        """Where the model is: a program may have moved it."""
        return next(self.model.parameters()).device

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Predictions:
        images = images.to(self.device, next(self.model.parameters()).dtype, memory_format=torch.channels_last)
        return predict_augmented(self.model, images) if self.augment else self.model.predict(images)

    def augmented(self) -> "PyTorchBackend":
        """Return the same model, not a copy of it, with test-time augmentation."""
        other = copy.copy(self)
        other.augment = True
        return other


def load(path: Path, device: torch.device, backbone: str = "", layout: str = "") -> PyTorchBackend:
    if layout:
        raise ConfigError(f"--layout {layout}: {path} tells its layout itself", "leave --layout out")
    return PyTorchBackend(*load_trained(path, backbone), device)


def load_trained(path: Path, backbone: str = "") -> tuple[DetectionModel, TrainingFacts]:
    """Return model and facts of a checkpoint.

    ``backbone``, from the command line only, is the user's file that it needs; that file is run.
    Raises: CheckpointError for a bad checkpoint, ConfigError for a ``backbone`` that does nothing.
    """
    if backbone and not is_user_name(backbone):
        raise ConfigError(
            f"--backbone {backbone}: a checkpoint names its backbone itself",
            "leave --backbone out; it only allows a file of your own, as path/to/file.py:builder",
        )
    allow_user_file(backbone)
    try:
        checkpoint = load_checkpoint(path)
        model = build_model(checkpoint)
    except CheckpointError as error:
        suspects = backbone and error.fix == OTHER_CODE
        fix = f"check that {backbone} is the one that it was trained with" if suspects else error.fix
        raise CheckpointError(error.what, fix) from error
    if backbone and not is_user_name(model.rows[0].name):
        raise ConfigError(f"--backbone {backbone}: the model in {path} needs no file of yours", "leave --backbone out")
    return model, checkpoint_facts(checkpoint)
