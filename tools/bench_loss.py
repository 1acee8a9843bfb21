"""Time forward and backward of the detection loss against one that works level by level; the totals must agree.

    python -m tools.bench_loss

Maps of a 640×640 batch of 16, 80 classes, 15 boxes per image, on one CPU thread, runs interleaved.
"""

import logging
import statistics
import time

import torch
from torch import Tensor
from torch.nn import functional as F

from utils.boxes import paired_iou
from utils.losses.anchor_loss import DetectionLoss, LossGains

log = logging.getLogger(__name__)
BATCH, NC, IMGSZ, BOXES, ROUNDS = 16, 80, 640, 240, 7
STRIDES, BALANCE = (8, 16, 32), (4.0, 1.0, 0.4)
ANCHORS_PX = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
WEIGHTS = LossGains()


def assign_level(targets: Tensor, anchors: Tensor, rows: int, columns: int) -> tuple[tuple[Tensor, ...], ...]:
    """Return the cells, classes, boxes and anchor sizes that the targets match in one level."""
    extent = torch.tensor([columns, rows])
    box = targets[:, 2:] * extent.repeat(2)
    ratio = box[None, :, 2:] / anchors[:, None]
    anchor, target = (torch.maximum(ratio, 1 / ratio).amax(2) < WEIGHTS.anchor_t).nonzero(as_tuple=True)
    centre, from_end = box[target, :2], extent - box[target, :2]
    picks, cells = [torch.arange(len(target))], [centre]
    for distance, step in ((centre, -0.5), (from_end, 0.5)):
        near = (distance % 1 < 0.5) & (distance > 1)
        for axis in (0, 1):
            picks.append(near[:, axis].nonzero()[:, 0])
            cells.append(centre[picks[-1]] + torch.eye(2)[axis] * step)
    pick, cell = torch.cat(picks), torch.cat(cells).long()
    cell = torch.minimum(cell.clamp(min=0), extent - 1)
    anchor, target = anchor[pick], target[pick]
    index = (targets[target, 0].long(), anchor, cell[:, 1], cell[:, 0])
    return index, targets[target, 1].long(), torch.cat((centre[pick] - cell, box[target, 2:]), 1), anchors[anchor]


def level_by_level(maps: list[Tensor], targets: Tensor, anchors: Tensor) -> Tensor:
    """The usual way: assign, gather and sum one level after the other."""
    box_loss = obj_loss = cls_loss = torch.zeros(())
    for m, level_anchors, balance in zip(maps, anchors, BALANCE, strict=True):
        index, class_id, box, anchor_size = assign_level(targets, level_anchors, *m.shape[2:4])
        row = m[index]
        size = (row[:, 2:4].sigmoid() * 2) ** 2 * anchor_size
        iou = paired_iou(torch.cat((row[:, :2].sigmoid() * 2 - 0.5, size), 1), box, "ciou")
        box_loss = box_loss + (1 - iou).mean()
        one_hot = torch.zeros_like(row[:, 5:])
        one_hot[torch.arange(len(row)), class_id] = 1
        cls_loss = cls_loss + F.binary_cross_entropy_with_logits(row[:, 5:], one_hot)
        goal = torch.zeros_like(m[..., 4])
        goal[index] = iou.detach().clamp(min=0)
        obj_loss = obj_loss + balance * F.binary_cross_entropy_with_logits(m[..., 4], goal)
    return (WEIGHTS.box * box_loss + WEIGHTS.obj * obj_loss + WEIGHTS.cls * cls_loss) * len(maps[0])


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    anchors = torch.tensor(ANCHORS_PX) / torch.tensor(STRIDES).view(-1, 1, 1)
    maps = [torch.randn(BATCH, 3, IMGSZ // s, IMGSZ // s, 5 + NC, requires_grad=True) for s in STRIDES]
    targets = torch.rand(BOXES, 6) * torch.tensor([BATCH, NC, 1, 1, 0.6, 0.6])
    targets[:, :2].floor_()
    loss = DetectionLoss(anchors, NC, WEIGHTS)
    ways = {"level by level": lambda: level_by_level(maps, targets, anchors), "ours": lambda: loss(maps, targets)[0]}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        totals = []
        for name, run in ways.items():
            for m in maps:
                m.grad = None
            start = time.perf_counter()
            total = run()
            total.backward()
            seconds[name].append(time.perf_counter() - start)
            totals.append(total.detach())
        torch.testing.assert_close(*totals)
    usual, ours = (statistics.median(times) for times in seconds.values())
    log.info("loss and backward: %.1f ms → %.1f ms, %.1f× faster, same total", usual * 1e3, ours * 1e3, usual / ours)


if __name__ == "__main__":
    main()
