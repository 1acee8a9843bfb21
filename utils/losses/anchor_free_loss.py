"""The loss of an anchor-free detection head: box (CIoU), class and distribution focal (DFL) terms.

Paper of the distributions: Generalized Focal Loss, https://arxiv.org/abs/2006.04388
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from utils.boxes import cxcywh_to_xyxy, paired_iou
from utils.cells import cell_positions
from utils.collective import mean_count, total
from utils.dist import world
from utils.hyper import hyper, take
from utils.losses._contract import register_loss
from utils.losses.task_aligned import Assignment, Level, assign_points


@dataclass(frozen=True)
class AnchorFreeGains:
    """Gains of the terms; nothing scales them."""

    box: float = hyper(7.5, 0, math.inf)
    cls: float = hyper(0.5, 0, math.inf)
    dfl: float = hyper(1.5, 0, math.inf)


class AnchorFreeLoss(nn.Module):
    """``loss(maps, targets)`` → total (a scalar that grows with the batch size) and its three terms ``(3,)`` detached.

    ``maps``: per level ``(B, 4·reg_max + nc, H, W)`` logits, of any float type, on any device; the loss is float32. The
    first channels are the distributions of the distances left, top, right, bottom from a point, ``reg_max`` bins each.
    ``targets (T, 6)``: [image index, class, cx, cy, w, h in 0–1], in any order; best left on the CPU, see assignment.
    """

    terms = ("box", "cls", "dfl")

    def __init__(self, strides: Sequence[int] | Tensor, nc: int, reg_max: int, gains: AnchorFreeGains) -> None:
        super().__init__()
        assert reg_max > 1, "a distribution has two bins or more"
        self.strides = [float(stride) for stride in strides]
        self.nc = nc
        self.reg_max = reg_max
        self.gains = gains
        self.least_side = self.strides[:2][-1]  # pixels; smaller targets are enlarged to it to find points

    def forward(self, maps: Sequence[Tensor], targets: Tensor) -> tuple[Tensor, Tensor]:
        # Assignment: which points have to predict which target
        levels = [(*m.shape[2:4], stride) for m, stride in zip(maps, self.strides, strict=True)]
        logits = torch.cat([m.flatten(2).mT for m in maps], dim=1)  # (B, N, 4R + nc)
        centre, stride = _points(levels, logits.device)
        found = self._assign(logits.detach(), targets, levels, centre * stride, stride)

        # Class term: all points against zero; target · logit is all that a target adds to its cross-entropy
        index = found.image, found.point, found.class_id
        sides, positive, background = _Pick.apply(logits, 4 * self.reg_max, *index)
        cls = background - (positive * found.score).sum()

        # Box terms of the chosen points, in cells relative to the point
        goal = found.box / stride[found.point]  # (K, 4)
        goal[:, :2] -= centre[found.point]
        log_prob = sides.view(-1, 4, self.reg_max).log_softmax(dim=2)
        iou = paired_iou(_box(_distances(log_prob.exp())), goal, "ciou")
        box = ((1 - iou) * found.score).sum()
        dfl = (distribution_focal(log_prob, _distances_to(goal)) * found.score).sum()

        gains, total_score = self.gains, total(found.score.sum()).clamp(min=1) / world()  # a process's share of it
        terms = torch.stack((box * gains.box, cls * gains.cls, dfl * gains.dfl)) / total_score
        return terms.sum() * mean_count(len(logits)), terms.detach()

    @torch.no_grad()
    def _assign(
        self, logits: Tensor, targets: Tensor, levels: Sequence[Level], centre: Tensor, stride: Tensor
    ) -> Assignment:
        """Decode the predictions of all points, ``centre (N, 2)`` in pixels, and assign the targets to them."""
        sides, classes = logits.split((4 * self.reg_max, self.nc), dim=2)
        prob = sides.unflatten(2, (4, self.reg_max)).float().softmax(dim=3)  # (B, N, 4, R)
        boxes = _box(_distances(prob)) * stride  # (B, N, 4) pixels, relative to the point
        boxes[..., :2] += centre
        return assign_points(boxes, classes, targets, levels, self.least_side)


@register_loss("AnchorFreeDetect", AnchorFreeGains, file="hyp.yolov8.yaml")
def anchor_free_loss(head: nn.Module, hyp: Mapping[str, Any], imgsz: int) -> AnchorFreeLoss:
    """Return the loss; neither the size of the images nor the number of classes scales its gains."""
    return AnchorFreeLoss(head.stride, head.nc, head.reg_max, take(AnchorFreeGains, hyp))


def distribution_focal(log_prob: Tensor, distance: Tensor) -> Tensor:
    """Return the cross-entropy ``(K,)`` of ``log_prob (K, 4, R)`` against ``distance (K, 4)`` in bins, mean over sides.

    A distance between two bins asks for both, in proportion of its nearness; one outside is moved to the nearest end.
    """
    distance = distance.clamp(0, log_prob.shape[2] - 1 - 0.01)  # so that a bin above is left
    low = distance.floor()
    bins = torch.stack((low, low + 1), dim=2).long()  # (K, 4, 2)
    share = distance - low
    share = torch.stack((1 - share, share), dim=2)
    return -(log_prob.gather(2, bins) * share).sum(dim=2).mean(dim=1)


def _distances(prob: Tensor) -> Tensor:
    """Return the expected bins ``(...)`` of distributions ``(..., R)``."""
    return (prob * torch.arange(prob.shape[-1], dtype=prob.dtype, device=prob.device)).sum(dim=-1)


def _box(distances: Tensor) -> Tensor:
    """Return boxes ``(..., 4)`` cxcywh, relative to the point, of its distances left, top, right, bottom."""
    before, after = distances.split(2, dim=-1)
    return torch.cat(((after - before) / 2, before + after), dim=-1)


def _distances_to(box: Tensor) -> Tensor:
    """Return the distances ``(..., 4)`` of the sides of ``box (..., 4)`` cxcywh, relative to the point."""
    low, high = cxcywh_to_xyxy(box).split(2, dim=-1)
    return torch.cat((-low, high), dim=-1)


def _points(levels: Sequence[Level], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the points ``(N, 2)`` as x, y in cells of their level, and their strides ``(N, 1)``."""
    centres, strides = [], []
    for rows, columns, stride in levels:
        centres.append(torch.stack(cell_positions(rows, columns, 0.5, device), dim=-1).flatten(0, 1))
        strides.append(torch.full((rows * columns, 1), stride, device=device))
    return torch.cat(centres), torch.cat(strides)


class _Pick(torch.autograd.Function):
    """Return what the loss reads of ``logits (B, N, sides + nc)``, in float32.

    These are the side channels of chosen points ``(K, sides)``, the logits of their classes ``(K,)``, and the sum of
    the cross-entropies of all class logits against zero. Plain indexing would fill a gradient of full size for each
    and add them; here all go into one.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, sides: int, image: Tensor, point: Tensor, class_id: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(logits, image, point, class_id)
        ctx.sides = sides
        classes = logits[..., sides:]
        background = F.softplus(classes.float()).sum()
        return logits[image, point, :sides].float(), classes[image, point, class_id].float(), background

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, rows: Tensor, positive: Tensor, background: Tensor
    ) -> tuple[Tensor | None, None, None, None, None]:
        logits, image, point, class_id = ctx.saved_tensors
        classes = logits[..., ctx.sides :].float().sigmoid().mul_(background)
        classes.index_put_((image, point, class_id), positive, accumulate=True)
        gradient = torch.empty_like(logits)
        gradient[..., ctx.sides :] = classes
        gradient[..., : ctx.sides] = 0
        gradient[..., : ctx.sides].index_put_((image, point), rows.to(logits.dtype), accumulate=True)
        return gradient, None, None, None, None
