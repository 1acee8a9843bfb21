"""Task-aligned assignment: which points of the grids have to predict which target, and how confident they should be.

Paper: TOOD: Task-aligned One-stage Object Detection, https://arxiv.org/abs/2108.07755

All work is done on candidate pairs (a target, a point inside it): nothing has the size targets × points. What decides
how many pairs there are is computed on the CPU, from the targets alone; so a GPU is never waited for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from utils.boxes import cxcywh_to_xyxy, paired_iou

SCORE_POWER, OVERLAP_POWER = 0.5, 6.0  # α and β of the paper
TOP_K = 10  # points that a target may choose
MARGIN = 1e-9  # a point inside a box is farther than this from its sides, pixels
EPS = 1e-9
CHUNK = 1 << 16  # pairs whose overlap is computed at a time: their temporaries stay in the cache

Level = tuple[int, int, float]  # rows, columns and stride of a grid


@dataclass(frozen=True)
class Assignment:
    """The K points that targets chose, ordered by the target that chose them.

    A row of score 0 counts for nothing: its point predicts nothing of its target, or stands in an earlier row as well.
    """

    image: Tensor  # (K,) this and the next three int64
    point: Tensor  # (K,) counted by level, row and column
    target: Tensor  # (K,) row of the targets
    class_id: Tensor  # (K,)
    box: Tensor  # (K, 4) of the target, cxcywh in pixels
    score: Tensor  # (K,) class score that the point should predict


@dataclass(frozen=True)
class _Pairs:
    """The P candidate pairs, ordered by target, then point."""

    target: Tensor  # (P,) int64
    point: Tensor  # (P,) int64
    slot: Tensor  # (P,) int64, number of the point in the batch: image · N + point
    overlap: Tensor  # (P,) CIoU of target and prediction, at least 0
    metric: Tensor  # (P,) alignment: class score^α · overlap^β


@torch.no_grad()
def assign_points(
    boxes: Tensor, logits: Tensor, targets: Tensor, levels: Sequence[Level], least_side: float, top_k: int = TOP_K
) -> Assignment:
    """Match ``targets (T, 6)`` [image index, class, cx, cy, w, h in 0–1] with the points of all levels at once.

    ``boxes (B, N, 4)`` cxcywh in pixels and ``logits (B, N, nc)`` are the predictions of the points. Candidates of a
    target are the points inside it, its sides taken as ``least_side`` pixels where they are shorter. It chooses the
    ``top_k`` of the highest metric. A point that several choose goes to the one that overlaps most with its prediction,
    among all that could have chosen it. The best point of a target has to score the target's largest overlap, its
    other points in proportion of their metrics.
    """
    rows, columns, stride = levels[0]
    targets = targets.cpu().float()
    box = targets[:, 2:6] * (targets.new_tensor([columns, rows, columns, rows]) * stride)  # (T, 4) pixels
    owner, first, length = _candidates(box, levels, least_side)
    count = torch.zeros(len(box), dtype=torch.long).index_add_(0, owner, length)  # (T,) candidates
    total = int(count.sum())
    place = _runs(count.cumsum(0) - count, count.clamp(max=top_k))[1]  # (K,) of the chosen among sorted pairs

    device = boxes.device
    ahead = device.type == "cuda"  # elsewhere the values may not be there when they are read
    image, class_id = targets[:, :2].long().unbind(dim=1)
    moved = (t.to(device, non_blocking=ahead) for t in (owner, first, length, place, image, class_id, box))
    owner, first, length, place, image, class_id, box = moved

    # All pairs with their metric
    row, point = _runs(first, length, total)
    target = owner[row]
    pairs = _measure(target, point, boxes, logits, image, class_id, box)

    # The best pairs of each target, one pair for each point
    best = _sort(pairs)[place]  # (K,) index of a pair
    pair, counts = _settle(pairs, best, slots=boxes.shape[0] * boxes.shape[1])
    target = pairs.target[pair]
    score = _scores(pairs.metric[pair] * counts, pairs.overlap[pair] * counts, target, len(targets))
    return Assignment(image[target], pairs.point[pair], target, class_id[target], box[target], score)


def _candidates(box: Tensor, levels: Sequence[Level], least_side: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for every row of every grid that passes through a box, target, first point and number of points."""
    columns = torch.tensor([level[1] for level in levels])
    points = torch.tensor([level[0] * level[1] for level in levels])
    shape = torch.tensor([(level[1], level[0]) for level in levels])  # (L, 2) as x, y
    stride = torch.tensor([level[2] for level in levels], dtype=torch.double)[:, None]  # (L, 1)

    # Indices of the first point inside and of the first one beyond, along x and y
    sides = cxcywh_to_xyxy(torch.cat((box[:, :2], box[:, 2:].clamp(min=least_side)), dim=1)).double()
    low, high = sides[:, None].split(2, dim=-1)  # (T, 1, 2)
    first = ((low + MARGIN) / stride + 0.5).floor().long().clamp(min=0)  # (T, L, 2)
    beyond = torch.minimum(((high - MARGIN) / stride - 0.5).ceil().long(), shape)
    count = (beyond - first).clamp(min=0)

    # One entry for each row of these rectangles
    (first_x, first_y), (count_x, count_y) = first.view(-1, 2).unbind(1), count.view(-1, 2).unbind(1)
    rectangle, y = _runs(first_y, count_y)
    level = rectangle % len(levels)
    first_point = (points.cumsum(0) - points)[level] + y * columns[level] + first_x[rectangle]
    return rectangle // len(levels), first_point, count_x[rectangle]


def _runs(first: Tensor, length: Tensor, total: int | None = None) -> tuple[Tensor, Tensor]:
    """Return owner and value of each member of the runs ``first, first + 1, …``, which have ``length`` members each."""
    index = torch.arange(len(length), device=length.device)
    owner = index.repeat_interleave(length, output_size=total)
    before = length.cumsum(0) - length  # members of earlier runs
    return owner, (first - before)[owner] + torch.arange(len(owner), device=length.device)


def _measure(
    target: Tensor, point: Tensor, boxes: Tensor, logits: Tensor, image: Tensor, class_id: Tensor, box: Tensor
) -> _Pairs:
    """Return the pairs of ``target (P,)`` and ``point (P,)``; NaN in a prediction counts as the worst one."""
    slot = image[target] * boxes.shape[1] + point
    predicted = boxes.reshape(-1, 4)
    chunks = zip(target.split(CHUNK), slot.split(CHUNK), strict=True)
    overlap = torch.cat([paired_iou(box[t], predicted[s], "ciou") for t, s in chunks]).nan_to_num(0).clamp(min=0)
    score = logits[image[target], point, class_id[target]].float().sigmoid()
    metric = (score**SCORE_POWER * overlap**OVERLAP_POWER).nan_to_num(0)
    return _Pairs(target, point, slot, overlap, metric)


def _sort(pairs: _Pairs) -> Tensor:
    """Return the order of pairs by target, then from the largest metric to the smallest, then by point."""
    bits = pairs.metric.view(torch.int32)  # order positive numbers as their values do
    return (pairs.target * 2**32 - bits).sort(stable=True).indices


def _settle(pairs: _Pairs, chosen: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """Return, for each of the pairs ``chosen (K,)``, which pair gets its point, and whether the row counts.

    One row counts for each point; none does where the metric is 0: a target that overlaps with no prediction contests
    no point.
    """
    slot, wanted = pairs.slot[chosen], pairs.metric[chosen] > 0
    claims = slot.new_zeros(slots).index_add_(0, slot, wanted.long())

    # The pair of the largest overlap at each point; the first of equals
    largest = pairs.overlap.new_zeros(slots).scatter_reduce_(0, pairs.slot, pairs.overlap, "amax")
    index = torch.arange(len(pairs.slot), device=slot.device)
    index = index.where(pairs.overlap == largest[pairs.slot], len(index))
    winner = slot.new_full((slots,), len(index)).scatter_reduce_(0, pairs.slot, index, "amin")

    row = torch.arange(len(slot), device=slot.device)
    first = slot.new_full((slots,), len(row)).scatter_reduce_(0, slot, row.where(wanted, len(row)), "amin")
    return winner[slot].where(claims[slot] > 1, chosen), first[slot] == row


def _scores(metric: Tensor, overlap: Tensor, target: Tensor, count: int) -> Tensor:
    """Return the soft scores ``(K,)``: metrics, scaled so that the best of a target is its largest overlap."""
    best_metric, best_overlap = (
        value.new_zeros(count).scatter_reduce_(0, target, value, "amax") for value in (metric, overlap)
    )
    return metric * best_overlap[target] / (best_metric[target] + EPS)
