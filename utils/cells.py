"""Where the cells of a map are, in cells."""

import torch
from torch import Tensor


def cell_positions(
    height: int, width: int, first: float, device: torch.device, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Return x and y, each (H, W), of the cells of a map; those of the first cell, at the top left, are ``first``.

    In a traced graph the sizes follow the map if they are unpacked from its shape; a slice of it would be constant.
    """
    y = torch.arange(height, device=device, dtype=dtype) + first
    x = torch.arange(width, device=device, dtype=dtype) + first
    return x.expand(height, width), y.view(-1, 1).expand(height, width)
