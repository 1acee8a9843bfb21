"""Box formats and overlaps, in torch: ``xyxy`` = two corners, ``cxcywh`` = centre and size; any unit, pixels or 0–1."""

import math

import torch
from torch import Tensor

EPS = 1e-7  # added to denominators, as in the reference; keeps empty boxes finite


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Return corners of ``boxes (..., 4)`` given as centre and size."""
    centre, half = boxes[..., :2], boxes[..., 2:4] / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Return centre and size of ``boxes (..., 4)`` given as corners."""
    low, high = boxes[..., :2], boxes[..., 2:4]
    return torch.cat(((low + high) / 2, high - low), dim=-1)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU of every pair of ``a (N, 4)`` and ``b (M, 4)``, both xyxy, as float32 ``(N, M)``."""
    a, b = a.float(), b.float()
    low = torch.maximum(a[:, None, :2], b[:, :2])  # (N, M, 2)
    high = torch.minimum(a[:, None, 2:4], b[:, 2:4])
    inter = (high - low).clamp(min=0).prod(dim=-1)
    area_a, area_b = (a[:, 2:4] - a[:, :2]).prod(dim=-1), (b[:, 2:4] - b[:, :2]).prod(dim=-1)
    return inter / (area_a[:, None] + area_b - inter + EPS)


def box_shares(a: Tensor, b: Tensor) -> Tensor:
    """Return the share of each of ``a (N, 4)`` that lies in each of ``b (M, 4)``, both xyxy, as float32 ``(N, M)``."""
    a, b = a.float(), b.float()
    low = torch.maximum(a[:, None, :2], b[:, :2])
    high = torch.minimum(a[:, None, 2:4], b[:, 2:4])
    inter = (high - low).clamp(min=0).prod(dim=-1)
    return inter / (a[:, 2:4] - a[:, :2]).prod(dim=-1).clamp(min=EPS)[:, None]


def paired_iou(a: Tensor, b: Tensor, kind: str = "iou") -> Tensor:
    """Return the overlap ``(n,)`` of ``a (n, 4)`` and ``b (n, 4)``, both cxcywh, row by row; differentiable.

    ``kind``: iou; giou (https://arxiv.org/abs/1902.09630); diou or ciou (https://arxiv.org/abs/1911.08287).
    """
    a_low, a_high = cxcywh_to_xyxy(a).split(2, dim=-1)
    b_low, b_high = cxcywh_to_xyxy(b).split(2, dim=-1)
    inter = (torch.minimum(a_high, b_high) - torch.maximum(a_low, b_low)).clamp(min=0).prod(dim=-1)
    union = a[:, 2:4].prod(dim=-1) + b[:, 2:4].prod(dim=-1) - inter + EPS
    iou = inter / union
    if kind == "iou":
        return iou

    enclosing = torch.maximum(a_high, b_high) - torch.minimum(a_low, b_low)  # (n, 2) width, height
    if kind == "giou":
        area = enclosing.prod(dim=-1) + EPS
        return iou - (area - union) / area

    diagonal2 = enclosing.square().sum(dim=-1) + EPS
    diou = iou - (a[:, :2] - b[:, :2]).square().sum(dim=-1) / diagonal2
    if kind == "diou":
        return diou

    assert kind == "ciou", kind
    v = (_angle(b) - _angle(a)).square() * (4 / math.pi**2)
    with torch.no_grad():
        alpha = v / (1 - iou + v + EPS)
    return diou - alpha * v


def _angle(boxes: Tensor) -> Tensor:
    """Return atan(width / height), with a gradient that stays finite for empty boxes."""
    return torch.atan2(boxes[:, 2], boxes[:, 3].clamp(min=EPS))


def unletterbox(boxes: Tensor, ratio: tuple[float, float], pad: tuple[float, float], shape: tuple[int, int]) -> Tensor:
    """Return xyxy ``boxes (..., 4)`` in pixels of a letterboxed image in pixels of the original one, clipped to it.

    ``ratio`` and ``pad`` (left, top) are (x, y) as ``letterbox`` returned them; ``shape`` is the original (height,
    width). Each axis is undone by its own ratio: the two differ where an image side was rounded to whole pixels.
    """
    height, width = shape
    x = ((boxes[..., 0:4:2] - pad[0]) / ratio[0]).clamp(0, width)
    y = ((boxes[..., 1:4:2] - pad[1]) / ratio[1]).clamp(0, height)
    return torch.stack((x, y), dim=-1).flatten(-2)
