"""Assign targets to cells: which anchor of which cell of which level has to predict which box."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from utils.collective import mean

# From the centre of a box to a point in its own cell and in the ones left, above, right and below; cell units
_STEPS = ((0.0, 0.0), (-0.5, 0.0), (0.0, -0.5), (0.5, 0.0), (0.0, 0.5))


@dataclass(frozen=True)
class Matches:
    """The M matches of a batch, ordered by level, step (own cell, left, above, right, below), anchor and target."""

    per_level: list[int]  # number of matches in each level, M in all
    image: Tensor  # (M,) this and the next four int64
    anchor: Tensor  # (M,)
    row: Tensor  # (M,)
    column: Tensor  # (M,)
    class_id: Tensor  # (M,)
    box: Tensor  # (M, 4) cxcywh in cells, the centre relative to the cell's corner
    anchor_size: Tensor  # (M, 2) width and height in cells
    share: Tensor  # (M,) one over the number of matches in the same level, of several processes their mean
    last: Tensor  # (M,) int64, the last match with the same anchor of the same cell of the same image

    def to(self, device: torch.device) -> "Matches":
        """Return the same matches with their tensors on ``device``."""
        ahead = device.type == "cuda"  # elsewhere the values may not be there when they are read
        moved = {name: t.to(device, non_blocking=ahead) for name, t in vars(self).items() if isinstance(t, Tensor)}
        return replace(self, **moved)


@torch.no_grad()
def assign_targets(targets: Tensor, anchors: Tensor, grids: Sequence[tuple[int, int]], anchor_t: float) -> Matches:
    """Match ``targets (T, 6)`` [image index, class, cx, cy, w, h in 0–1] in all levels at once.

    ``anchors (L, A, 2)`` are in grid units; ``grids`` holds rows and columns of each level. A target matches each
    anchor of which neither width nor height differs from its own by a factor of ``anchor_t`` or more. In each such
    level it takes the cell of its centre and, along either axis, the neighbour that is nearer, if the grid has one.
    """
    # which anchors of a level have about the shape of a target
    extent = anchors.new_tensor([(columns, rows) for rows, columns in grids])[:, None]  # (L, 1, 2) as x, y
    centre, size = targets[:, 2:4] * extent, targets[:, 4:6] * extent  # (L, T, 2)
    ratio = size[:, None] / anchors[:, :, None]  # (L, A, T, 2)
    similar = torch.maximum(ratio, 1 / ratio).amax(dim=-1) < anchor_t  # (L, A, T)

    # which neighbour cells also learn this box: left or right, above or below, whichever is nearer
    from_end = extent - centre
    near_start = (centre % 1 < 0.5) & (centre > 1)
    near_end = (from_end % 1 < 0.5) & (from_end > 1)
    steps = torch.cat((torch.ones_like(near_start[..., :1]), near_start, near_end), dim=-1)  # (L, T, 5) as _STEPS
    matched = steps.mT[:, :, None] & similar[:, None]  # (L, 5, A, T)
    level, step, anchor, target = matched.nonzero(as_tuple=True)

    # the cell of every match
    centre = centre[level, target]
    cell = (centre + anchors.new_tensor(_STEPS)[step]).trunc()
    cell = torch.minimum(cell.clamp(min=0), extent[level, 0] - 1)  # a centre at 1.0 belongs to the last cell
    column, row = cell.long().unbind(dim=-1)
    image, class_id = targets[target, :2].long().unbind(dim=-1)

    # one number for every anchor of every cell, to find matches that share it
    side = max(max(grid) for grid in grids)
    slot = image  # becomes one number for image, level, anchor, row and column
    for index, count in ((level, len(grids)), (anchor, anchors.shape[1]), (row, side), (column, side)):
        slot = slot * count + index
    per_level = level.bincount(minlength=len(grids))
    of_a_process = mean(
        per_level.float()
    )  # what it has on average, so that the mean of all losses is that of the whole
    return Matches(
        per_level=per_level.tolist(),
        image=image,
        anchor=anchor,
        row=row,
        column=column,
        class_id=class_id,
        box=torch.cat((centre - cell, size[level, target]), dim=-1),
        anchor_size=anchors[level, anchor],
        share=1 / of_a_process[level],
        last=_last_with_same(slot),
    )


def _last_with_same(key: Tensor) -> Tensor:
    """Return, for each position of ``key (M,)``, the last position that holds the same value."""
    group = key.unique(return_inverse=True)[1]
    position = torch.arange(len(key), device=key.device)
    return torch.zeros_like(position).scatter_reduce(0, group, position, "amax")[group]
