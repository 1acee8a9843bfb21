"""The loss of an anchor-based detection head: box (CIoU), objectness and class terms."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from utils.boxes import paired_iou
from utils.collective import mean_count
from utils.hyper import hyper, take
from utils.losses._contract import register_loss
from utils.losses.assignment import Matches, assign_targets

FOCAL_ALPHA = 0.25  # https://arxiv.org/abs/1708.02002


@dataclass(frozen=True)
class LossGains:
    """Gains and options of the loss; the defaults are those of ``data/hyps/hyp.scratch-low.yaml``, not yet scaled."""

    box: float = hyper(0.05, 0, math.inf)
    cls: float = hyper(0.5, 0, math.inf)
    cls_pw: float = hyper(1.0, 0, math.inf)
    obj: float = hyper(1.0, 0, math.inf)
    obj_pw: float = hyper(1.0, 0, math.inf)  # weight of positive cells in the objectness term
    anchor_t: float = hyper(4.0, 1, math.inf)  # largest ratio between the sides of a target and those of its anchor
    fl_gamma: float = hyper(0.0, 0, math.inf)  # focal exponent, 0 = plain cross-entropy
    label_smoothing: float = hyper(0.0, 0, 1, optional=True)

    @classmethod
    def from_hyp(cls, hyp: Mapping[str, float], levels: int, nc: int, imgsz: int) -> "LossGains":
        """Take the values of a hyper-parameter file; scale the gains to the numbers of levels, classes and pixels.

        Raises: ConfigError where a key is missing (``label_smoothing`` may be).
        """
        gains = take(cls, hyp)
        return replace(
            gains,
            box=gains.box * 3 / levels,
            obj=gains.obj * 3 / levels * (imgsz / 640) ** 2,
            cls=gains.cls * 3 / levels * nc / 80,
        )


@dataclass(frozen=True)
class AnchorHyp:
    """What hyper-parameter files say of anchors besides ``anchor_t``."""

    anchors: float | None = hyper(None, 0, 10, optional=True)  # per level; set, it makes AutoAnchor compute them anew
    iou_t: float = hyper(0.2, 0, 1, optional=True)  # in every file of the reference, used by none


class DetectionLoss(nn.Module):
    """``loss(maps, targets)`` → total (a scalar that grows with the batch size) and its three terms ``(3,)`` detached.

    ``maps``: per level ``(B, A, H, W, 5 + nc)`` logits, of any float type, on any device; the loss is float32.
    ``targets (T, 6)``: [image index, class, cx, cy, w, h in 0–1]. Assignment runs on the CPU, where its small tensors
    are quick and their sizes are known; so leave ``targets`` there, and a GPU is never waited for.
    """

    terms = ("box", "obj", "cls")

    def __init__(self, anchors: Tensor, nc: int, gains: LossGains) -> None:
        """Take ``anchors (L, A, 2)`` in grid units, the number of classes, and gains already scaled."""
        super().__init__()
        self.anchors = anchors.detach().float().cpu()  # not a buffer: stays on the CPU
        self.nc = nc
        self.gains = gains
        levels = len(anchors)
        # Fine levels have more cells and smaller gradients. The values are the reference's.
        self.balance = [4.0, 1.0, 0.4] if levels == 3 else [4.0, 1.0, 0.25, 0.06, *[0.02] * levels][:levels]

    def forward(self, maps: Sequence[Tensor], targets: Tensor) -> tuple[Tensor, Tensor]:
        # the logits of matched cells, and all objectness logits
        grids = [tuple(m.shape[2:4]) for m in maps]
        matches = assign_targets(targets.cpu(), self.anchors, grids, self.gains.anchor_t).to(maps[0].device)
        cells = (matches.image, matches.anchor, matches.row, matches.column)
        cells = list(zip(*(index.split(matches.per_level) for index in cells), strict=True))
        picked = [_Pick.apply(m, *cell) for m, cell in zip(maps, cells, strict=True)]

        # box term, and with it what objectness has to say: the overlap reached
        rows = torch.cat([row for row, _ in picked]).float()  # (M, 5 + nc)
        iou = paired_iou(_decode(rows[:, :4], matches.anchor_size), matches.box, "ciou")
        box = ((1 - iou) * matches.share).sum()

        # objectness term over all cells; where several matches share a cell the last one counts
        goals = iou.detach().clamp(min=0)[matches.last].split(matches.per_level)
        obj = box.new_zeros(())
        for (_, logits), cell, goal, balance in zip(picked, cells, goals, self.balance, strict=True):
            target = torch.zeros(logits.shape, device=logits.device).index_put_(cell, goal)  # (B, A, H, W)
            obj = obj + balance * self._cross_entropy(logits.float(), target, self.gains.obj_pw).mean()
        images = mean_count(len(maps[0]))
        obj = obj * (len(maps[0]) / images)  # 1, but where a process has more images than another

        # class term
        cls = self._class_loss(rows[:, 5:], matches) if self.nc > 1 else torch.zeros_like(obj)
        terms = torch.stack((box * self.gains.box, obj * self.gains.obj, cls * self.gains.cls))
        return terms.sum() * images, terms.detach()

    def _class_loss(self, logits: Tensor, matches: Matches) -> Tensor:
        """Return the cross-entropy of ``logits (M, nc)``: mean over matches and classes, summed over levels."""
        smoothing = self.gains.label_smoothing / 2
        target = torch.full_like(logits, smoothing).scatter_(1, matches.class_id[:, None], 1 - smoothing)
        loss = self._cross_entropy(logits, target, self.gains.cls_pw)
        return (loss.mean(dim=1) * matches.share).sum()

    def _cross_entropy(self, logits: Tensor, target: Tensor, positive_weight: float) -> Tensor:
        """Return the binary cross-entropy, element by element; focal where ``fl_gamma`` asks for it."""
        weight = None if positive_weight == 1 else logits.new_full((1,), positive_weight)
        loss = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight, reduction="none")
        if self.gains.fl_gamma == 0:
            return loss
        positive = logits.sigmoid()
        miss = target + positive - 2 * target * positive  # 1 − p_t
        alpha = target * FOCAL_ALPHA + (1 - target) * (1 - FOCAL_ALPHA)
        return loss * alpha * miss.clamp(min=1e-7) ** self.gains.fl_gamma


@register_loss("Detect", LossGains, AnchorHyp)
def anchor_loss(head: nn.Module, hyp: Mapping[str, Any], imgsz: int) -> DetectionLoss:
    """Return the loss with its gains scaled to levels, classes and image size."""
    return DetectionLoss(head.anchors, head.nc, LossGains.from_hyp(hyp, levels=head.nl, nc=head.nc, imgsz=imgsz))


def _decode(logits: Tensor, anchor_size: Tensor) -> Tensor:
    """Return boxes ``(M, 4)`` cxcywh in cells, relative to the cell's corner, of box ``logits (M, 4)``."""
    centre, size = logits.sigmoid().split(2, dim=-1)
    return torch.cat((2 * centre - 0.5, (2 * size).square() * anchor_size), dim=-1)


class _Pick(torch.autograd.Function):
    """Return the matched rows ``(M, 5 + nc)`` of a map and all its objectness logits ``(B, A, H, W)``.

    Plain indexing would fill one gradient of the map's full size for either result and add them; here both go into
    one, which takes a third of the time.
    """

    @staticmethod
    def forward(ctx: Any, m: Tensor, *cell: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(*cell)
        ctx.shape = m.shape
        return m[cell], m[..., 4].clone(memory_format=torch.contiguous_format)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, rows: Tensor, objectness: Tensor) -> tuple[Tensor | None, ...]:
        gradient = rows.new_zeros(ctx.shape)
        gradient[..., 4] = objectness
        gradient.index_put_(ctx.saved_tensors, rows, accumulate=True)
        return gradient, *(None for _ in ctx.saved_tensors)
