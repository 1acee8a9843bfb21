"""A detector of 13 thousand parameters with the parts of a real one, and pictures for it, for tests that need some."""

import copy
from pathlib import Path

import cv2
import numpy as np
import torch

from models.detector import DetectionModel
from utils.yaml_file import write_yaml

TINY = {
    "nc": 3,
    "depth_multiple": 1.0,
    "width_multiple": 0.25,
    "anchors": [[10, 13, 16, 30], [30, 61, 62, 45]],
    "backbone": [
        [-1, 1, "Conv", [32, 6, 2, 2]],
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "C3", [32]],
        [-1, 1, "Conv", [64, 3, 2]],
        [-1, 1, "Conv", [64, 3, 2]],
        [-1, 1, "SPPF", [64, 5]],
    ],
    "head": [
        [-1, 1, "nn.Upsample", ["None", 2, "nearest"]],
        [[-1, 3], 1, "Concat", [1]],
        [[-1, 5], 1, "Detect", ["nc", "anchors"]],
    ],
}


def tiny_model(**changes):
    """Return it in eval mode, with seeded weights and norms that are not the identity; ``changes`` go into the YAML."""
    torch.manual_seed(0)
    model = DetectionModel({**copy.deepcopy(TINY), **changes})
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    model.names = {index: f"class {index}" for index in range(model.nc)}
    return model.eval()


def finding_model(**changes):
    """Return ``tiny_model`` with biases that make it find something in every image."""
    model = tiny_model(**changes)
    with torch.no_grad():
        for conv in model.head.m:
            bias = conv.bias.view(model.head.na, model.head.no)
            bias[:, 4] += 5
            bias[:, 5:] += 3
    return model


@torch.no_grad()
def enlivened(model):
    """Return a new model in eval mode, its images telling in its answers: nearly nothing of them reaches the head else.

    Norms get nearly the statistics of images, so that what enters a layer does not fade from row to row, and biases
    that hold scores near 0 are taken away. A tenth more of one layer's weights then moves boxes by 0.03 px and more,
    scores by 0.003, and rounding moves boxes by 0.0002 px.
    """
    images = torch.rand(4, model.yaml.get("ch", 3), 96, 160, generator=torch.Generator().manual_seed(0))
    images = (images + torch.linspace(0, 1, 96).view(-1, 1) * torch.linspace(0, 1, 160)) / 2
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.9
    model.train()(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    head = model.head
    for conv in getattr(head, "m", ()):
        conv.bias.view(head.na, head.no)[:, 4:] = 0
        conv.weight.view(head.na, head.no, -1)[:, 4:] *= 20
    for branch in getattr(head, "cv3", ()):
        branch[-1].bias.zero_()
        branch[-1].weight *= 20
    return model.eval()


def write_tiny_project():
    """Write into the current folder ``tiny.yaml``, its model, and ``pets.yaml``, a data set of three noisy pictures."""
    for folder in ("images", "labels"):
        Path(folder).mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        cv2.imwrite(f"images/{index}.png", rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
        Path(f"labels/{index}.txt").write_text(f"{index} 0.5 0.5 0.4 0.4\n")
    write_yaml("pets.yaml", {"train": "images", "val": "images", "names": ["cat", "dog", "eel"]})
    write_yaml("tiny.yaml", TINY)
