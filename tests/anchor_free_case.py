"""Maps and targets of an anchor-free head: those of the golden figures, and a plain way to decode maps."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent / "golden" / "v8"
STRIDES = (8.0, 16.0, 32.0)


def golden_case(name: str) -> tuple[dict[str, np.ndarray], list[Tensor]]:
    """Return golden figures of a loss, and the maps that they belong to."""
    with np.load(FOLDER / f"{name}.npz") as file:
        figures = dict(file)
    generator = np.random.Generator(np.random.PCG64(int(figures["seed"])))
    maps = []
    for stride in figures["stride"]:
        height, width = figures["size"] // stride
        m = generator.normal(0, 1, (figures["batch"], 64 + figures["nc"], height, width))
        m[:, :64] = 3 * m[:, :64] - 0.2 * (np.arange(64) % 16)[:, None, None]
        m[:, 64:] -= 2
        maps.append(torch.from_numpy(m.astype(np.float32)))
    return figures, maps


def decode(maps: list[Tensor], strides: tuple[float, ...], reg_max: int) -> tuple[Tensor, Tensor]:
    """Return boxes ``(B, N, 4)`` xyxy in pixels and class logits ``(B, N, nc)``."""
    boxes, logits = [], []
    for m, stride in zip(maps, strides, strict=True):
        sides = m[:, : 4 * reg_max].split(reg_max, dim=1)
        bins = torch.arange(reg_max)[:, None, None]
        left, top, right, bottom = ((side.softmax(dim=1) * bins).sum(dim=1) for side in sides)  # (B, H, W)
        y, x = (torch.arange(count) + 0.5 for count in m.shape[2:])
        y = y[:, None]
        corners = torch.stack((x - left, y - top, x + right, y + bottom), dim=3) * stride
        boxes.append(corners.flatten(1, 2))
        logits.append(m[:, 4 * reg_max :].permute(0, 2, 3, 1).flatten(1, 2))
    return torch.cat(boxes, dim=1), torch.cat(logits, dim=1)
