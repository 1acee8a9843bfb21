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
    """Return boxes ``(B, N, 4)`` xyxy in pixels and class logits ``(B, N, nc)``, one point after the other."""
    boxes, logits = [], []
    for m, stride in zip(maps, strides, strict=True):
        for y in range(m.shape[2]):
            for x in range(m.shape[3]):
                bins = m[:, : 4 * reg_max, y, x].reshape(-1, 4, reg_max).softmax(dim=2)
                left, top, right, bottom = (bins * torch.arange(reg_max)).sum(dim=2).unbind(dim=1)
                corners = x + 0.5 - left, y + 0.5 - top, x + 0.5 + right, y + 0.5 + bottom
                boxes.append(torch.stack(corners, dim=1) * stride)
                logits.append(m[:, 4 * reg_max :, y, x])
    return torch.stack(boxes, dim=1), torch.stack(logits, dim=1)
