"""Weights and images of the detectors' golden figures: both follow from formulas, only outputs are stored."""

import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent / "golden"


def fill_random(model: nn.Module) -> None:
    """Fill a model, in place, as for ``model_*.npz``: every tensor from a generator seeded by its key."""
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not key.endswith(("anchors", "dfl.conv.weight")):
            tensor.copy_(torch.from_numpy(_random(key, tuple(tensor.shape)).astype(np.float32)))


def _random(key: str, shape: tuple[int, ...]) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    if key.endswith("running_var") or (len(shape) == 1 and key.endswith("weight")):
        return generator.uniform(0.5, 1.5, shape)
    if len(shape) == 1:
        return generator.normal(0, 0.1, shape)
    return generator.normal(0, 1 / math.sqrt(math.prod(shape[1:])), shape)


def random_image(height: int, width: int) -> Tensor:
    """Return the images (2, 3, H, W), float32, of ``model_*.npz``."""
    return torch.from_numpy(np.random.Generator(np.random.PCG64(1)).random((2, 3, height, width), dtype=np.float32))


def fill_sine(module: nn.Module, gain: float) -> None:
    """Fill a float64 module, in place, with sines of a quadratic phase that starts at a checksum of the key."""
    norms = {name for name, part in module.named_modules() if isinstance(part, nn.BatchNorm2d)}
    for key, tensor in module.state_dict().items():
        if not tensor.is_floating_point() or key.endswith(("anchors", "dfl.conv.weight")):
            continue
        j = np.arange(tensor.numel(), dtype=np.float64)
        x = np.sin(0.7 * j * j + zlib.crc32(key.encode()) % 1000).reshape(tuple(tensor.shape))
        owner, _, leaf = key.rpartition(".")
        if leaf == "running_var":
            x = 1 + 0.5 * np.abs(x)
        elif leaf == "running_mean":
            x = 0.1 * x
        elif leaf == "weight" and owner in norms:
            x = 1 + 0.1 * x
        elif tensor.ndim == 1:
            x = 0.1 * x
        else:
            x = gain * x / math.sqrt(tensor.numel() / tensor.shape[0])
        tensor.copy_(torch.from_numpy(x))


def sine_image(channels: int, height: int, width: int) -> Tensor:
    """Return the image (1, C, H, W), float64, that goes with ``fill_sine``."""
    c = torch.arange(channels, dtype=torch.float64).view(-1, 1, 1)
    y = torch.arange(height, dtype=torch.float64).view(-1, 1)
    x = torch.arange(width, dtype=torch.float64)
    return (0.5 + 0.5 * torch.sin(0.3 * c + 0.11 * y + 0.07 * x))[None]
