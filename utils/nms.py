"""Exact non-maximum suppression that reads only as many of the best candidates as it needs."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor
from torchvision.ops import nms

from utils.boxes import cxcywh_to_xyxy
from utils.errors import ConfigError

CLASS_OFFSET = 7680  # pixels; boxes of different classes are moved this far apart, so that they do not overlap
MAX_CANDIDATES = 30_000  # per image, as in the reference; candidates with lower confidence do not count
BLOCK = 1024  # candidates that go through the kernel at once, and length of the first prefix


@torch.no_grad()
def non_max_suppression(
    predictions: Tensor,
    conf_thres: float = 0.25,
    iou_thres: float = 0.45,
    classes: Sequence[int] | None = None,
    agnostic: bool = False,
    multi_label: bool = False,
    max_det: int = 300,
) -> list[Tensor]:
    """Return, for each image, its detections ``(n, 6)`` [xyxy, confidence, class], best first, float32, n ≤ max_det.

    ``predictions (B, N, 5 + nc)``: cxcywh in pixels, objectness, class scores. A box is a candidate where objectness
    and confidence (objectness · class score) both exceed ``conf_thres``: once, with its best class, or with
    ``multi_label`` once for each such class. ``classes`` keeps only these class ids; with ``agnostic``, boxes suppress
    those of other classes too. Raises: ConfigError for a threshold outside 0–1.
    """
    for name, value in (("conf_thres", conf_thres), ("iou_thres", iou_thres)):
        if not 0 <= value <= 1:
            raise ConfigError(f"{name} is {value}", "choose a value from 0 to 1")
    class_ids = torch.arange(predictions.shape[2] - 5, device=predictions.device)
    wanted = class_ids >= 0 if classes is None else torch.isin(class_ids, class_ids.new_tensor(classes))

    objectness = predictions[..., 4].float()
    best = predictions[..., 5:].amax(dim=-1).float() * objectness  # (B, N) confidence in each box's best class
    usable = (objectness > conf_thres) & (best > conf_thres)
    detections = []
    for image, image_best, image_usable in zip(predictions, best, usable, strict=True):
        rows = image_usable.nonzero()[:, 0]
        select = partial(_candidates, image, conf_thres=conf_thres, wanted=wanted, multi_label=multi_label)
        blocks = _ranked_blocks(rows, image_best[rows], select)
        detections.append(_suppress(blocks, iou_thres, 0 if agnostic else CLASS_OFFSET, max_det))
    return detections


def _ranked_blocks(rows: Tensor, best: Tensor, select: Callable[[Tensor, Tensor], Tensor]) -> Iterator[Tensor]:
    """Yield the candidates of one image, best first, in blocks ``(≤ BLOCK, 6)``; at least one, perhaps empty, block.

    ``best (n,)`` bounds the confidences within each of ``rows (n,)``. Hence all candidates at least as confident as
    the k-th of ``best`` lie in rows whose own bound is as high: only those rows are read, and k grows on demand.
    """
    done, prefix = 0, BLOCK
    while done < MAX_CANDIDATES:
        complete = prefix >= len(rows)
        floor = best.new_zeros(()) if complete else best.topk(prefix).values[-1]
        candidates = select(rows[best >= floor], floor)
        order = candidates[:, 4].argsort(descending=True, stable=True)[done:MAX_CANDIDATES]
        yield from candidates[order].split(BLOCK)
        if complete:
            return
        done, prefix = done + len(order), 4 * prefix


def _candidates(
    image: Tensor, rows: Tensor, floor: Tensor, *, conf_thres: float, wanted: Tensor, multi_label: bool
) -> Tensor:
    """Return the candidates ``(m, 6)`` in some ``rows`` of an image whose confidence is not below ``floor``."""
    boxes = image[rows].float()
    confidence = boxes[:, 5:] * boxes[:, 4:5]
    if multi_label:
        hits = (confidence > conf_thres) & (confidence >= floor) & wanted
        row, class_id = hits.nonzero(as_tuple=True)
        confidence = confidence[row, class_id]
    else:
        confidence, class_id = confidence.max(dim=1)
        row = wanted[class_id].nonzero()[:, 0]
        confidence, class_id = confidence[row], class_id[row]
    return torch.cat((cxcywh_to_xyxy(boxes[row, :4]), confidence[:, None], class_id[:, None].float()), dim=1)


def _suppress(blocks: Iterator[Tensor], iou_thres: float, class_offset: int, max_det: int) -> Tensor:
    """Return the first ``max_det`` survivors ``(n, 6)`` of greedy suppression over ranked blocks of candidates.

    Survivors do not suppress each other, so they go through the kernel once more, ahead of the next block.
    """
    kept = None
    for block in blocks:
        ranked = block if kept is None else torch.cat((kept, block))
        kept = ranked[nms(ranked[:, :4] + ranked[:, 5:] * class_offset, ranked[:, 4], iou_thres)]
        if len(kept) >= max_det:
            break
    return kept[:max_det]
