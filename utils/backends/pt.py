"""Run a checkpoint, ours or an official one, in PyTorch: fused, channels_last."""

from pathlib import Path

import torch
from torch import Tensor

from utils.checkpoint.load import load_model


class PyTorchBackend:
    def __init__(self, path: Path, device: torch.device) -> None:
        self.device = device
        self.model = load_model(path).fuse().to(device, memory_format=torch.channels_last)
        self.model.head.export = True
        self.names = self.model.names
        self.stride = self.model.size_multiple
        self.fixed_size = self.model.fixed_size

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        return self.model(images.to(self.device, memory_format=torch.channels_last))


def load(path: Path, device: torch.device) -> PyTorchBackend:
    return PyTorchBackend(path, device)
