"""Exact non-maximum suppression that reads only as many of the best candidates as it needs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from utils.boxes import cxcywh_to_xyxy
from utils.errors import ConfigError
from utils.predictions import Predictions

MAX_CANDIDATES = 30_000  # per image, as in the reference; candidates with lower confidence do not count
BLOCK = 1024  # candidates that are suppressed at once, and length of the first prefix
MAX_PAIRED = 64  # candidates of a class up to which comparing all pairs costs less than a call of the kernel
DETECT_IOU = {True: 0.45, False: 0.7}  # has objectness → threshold, of YOLOv5 and of YOLOv8
ROUNDING = 1e-5  # of an IoU, with much to spare


def _kernel() -> Callable[[Tensor, Tensor, float], Tensor]:
    """Return torchvision's kernel out of its library: the package would import PyTorch's compiler, a second.

    The library's name is the package's own affair; where none of that kind can be loaded, the package is asked.
    """
    package = find_spec("torchvision")
    for folder in package.submodule_search_locations if package else ():
        for library in sorted(Path(folder).glob(f"_C*{EXTENSION_SUFFIXES[-1]}")):
            with suppress(OSError):
                torch.ops.load_library(library)
    if hasattr(torch.ops.torchvision, "nms"):
        return torch.ops.torchvision.nms
    from torchvision.ops import nms  # says what is wrong, where torchvision is missing or not made for this PyTorch

    return nms


nms = _kernel()


@torch.no_grad()
def non_max_suppression(
    predictions: Predictions,
    conf_thres: float = 0.25,
    iou_thres: float | None = None,
    classes: Sequence[int] | None = None,
    agnostic: bool = False,
    multi_label: bool = False,
    max_det: int = 300,
    class_thres: Mapping[int, float] | None = None,
) -> list[Tensor]:
    """Return, for each image, its detections ``(n, 6)`` [xyxy, confidence, class], best first, float32, n ≤ max_det.

    The confidence of a box in a class is its score, times its objectness where the predictions have one. A box is a
    candidate where that exceeds ``conf_thres``: once, with its best class, or with ``multi_label`` once for each such
    class. ``class_thres`` are those of some class ids, in place of ``conf_thres``; ``classes`` keeps only these
    class ids; with ``agnostic``, boxes suppress those of other classes too.
    ``iou_thres`` None is what the family of the head is known with, 0.45 or, without objectness, 0.7.
    Of predictions that their file has suppressed those are left that the other options allow.
    Raises: ConfigError for a threshold outside 0–1, and for a ``max_det`` below 1.
    """
    if max_det < 1:
        raise ConfigError(f"max_det is {max_det}", "give 1 or more")
    if iou_thres is None:
        iou_thres = DETECT_IOU[predictions.layout.has_objectness]
    own = {f"class_thres of {class_id}": value for class_id, value in (class_thres or {}).items()}
    for name, value in {"conf_thres": conf_thres, "iou_thres": iou_thres, **own}.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"{name} is {value}", "choose a value from 0 to 1")
    if predictions.layout.is_suppressed:
        return [_wanted(rows, conf_thres, classes, class_thres or {})[:max_det] for rows in predictions.output.float()]
    scores, objectness = predictions.scores, predictions.objectness
    floors = torch.full(scores.shape[2:], conf_thres, device=scores.device)  # (nc,) that a confidence has to exceed
    for class_id, value in (class_thres or {}).items():
        floors[class_id] = value
    conf_thres = min([conf_thres, *own.values()])
    if classes is not None:
        class_ids = torch.arange(len(floors), device=scores.device)
        floors[torch.isin(class_ids, class_ids.new_tensor(classes), invert=True)] = torch.inf

    best = scores.amax(dim=-1).float()  # (B, N) confidence in each box's best class
    if objectness is not None:
        best = best * objectness.float()
    detections = []
    for image, image_best in enumerate(best):
        rows = (image_best > conf_thres).nonzero()[:, 0]
        select = partial(_candidates, predictions, image, floors=floors, multi_label=multi_label)
        blocks = _ranked_blocks(rows, image_best[rows], select)
        kept = _suppress(blocks, iou_thres, agnostic or len(floors) == 1, max_det)
        detections.append(kept.to(scores.device))
    return detections


def _wanted(rows: Tensor, conf_thres: float, classes: Sequence[int] | None, class_thres: Mapping[int, float]) -> Tensor:
    """Return the detections among the rows (n, 6) of one image; zeros are none, whatever the threshold."""
    floors = torch.full_like(rows[:, 4], conf_thres)
    for class_id, value in class_thres.items():
        floors[rows[:, 5] == class_id] = value
    kept = (rows[:, 4] > floors) & (rows[:, 4] > 0)
    return rows[kept if classes is None else kept & torch.isin(rows[:, 5], rows.new_tensor(classes))]


def _ranked_blocks(rows: Tensor, best: Tensor, select: Callable[[Tensor, Tensor], Tensor]) -> Iterator[Tensor]:
    """Yield the candidates of one image, best first, in blocks ``(n, 6)`` that grow from BLOCK.

    ``best (n,)`` bounds the confidences within each of ``rows (n,)``. Hence all candidates at least as confident as
    the k-th of ``best`` lie in rows whose own bound is as high: only those rows are read, and k grows on demand.
    """
    done, prefix, size = 0, BLOCK, BLOCK
    while done < MAX_CANDIDATES:
        # the rows whose bound reaches that of the prefix-th; none but they can hold the candidates that come next
        complete = prefix >= len(rows)
        floor = None if complete else best.kthvalue(len(best) - prefix + 1).values
        candidates = select(rows if complete else rows[best >= floor], floor)

        # those not yet handed out, best first, in growing blocks
        order = candidates[:, 4].argsort(descending=True, stable=True)[done:MAX_CANDIDATES]
        while len(order):
            yield candidates.index_select(0, order[:size])
            order, done, size = order[size:], done + len(order[:size]), 2 * size
        if complete:
            return
        prefix *= 4


def _candidates(
    predictions: Predictions,
    image: int,
    rows: Tensor,
    floor: Tensor | None,
    *,
    floors: Tensor,
    multi_label: bool,
) -> Tensor:
    """Return the candidates ``(m, 6)`` in some ``rows`` of an image whose confidence reaches ``floor``, where given.

    They exceed the threshold of their class in ``floors`` (nc,).
    """
    picked = predictions.pick(image, rows)
    confidence = picked.scores[0] if picked.objectness is None else picked.scores[0] * picked.objectness[0, :, None]
    if multi_label:
        hits = confidence > floors if floor is None else (confidence > floors) & (confidence >= floor)
        place = hits.flatten().nonzero()[:, 0]
        row, class_id = place.div(len(floors), rounding_mode="floor"), place % len(floors)
        confidence = confidence.flatten().index_select(0, place)
    else:
        confidence, class_id = confidence.max(dim=1)
        row = (confidence > floors[class_id]).nonzero()[:, 0]
        confidence, class_id = confidence[row], class_id[row]
    corners = cxcywh_to_xyxy(picked.boxes[0].index_select(0, row))
    return torch.cat((corners, confidence[:, None], class_id[:, None].float()), dim=1)


def _suppress(blocks: Iterator[Tensor], iou_thres: float, agnostic: bool, max_det: int) -> Tensor:
    """Return the first ``max_det`` survivors ``(n, 6)`` of greedy suppression over ranked blocks of candidates.

    Survivors do not suppress each other, so they are judged once more, ahead of the next block. This runs on the CPU:
    each decision waits for the one before, and a GPU would be asked once per class.
    """
    kept = torch.zeros(0, 6)
    for block in blocks:
        ranked = torch.cat((kept, block.cpu()))
        kept = ranked.index_select(0, survivors(ranked, iou_thres, agnostic))
        if len(kept) >= max_det:
            break
    return kept[:max_det]


def survivors(ranked: Tensor, iou_thres: float, agnostic: bool = False) -> Tensor:
    """Return the ascending positions of the ``ranked (n, 6)`` candidates that no better survivor of their class covers.

    The decisions are those of torchvision's kernel, called for each class with the boxes as they are. Shifting each
    class to a place of its own, to save calls, would round the boxes: at class 1202 and 32 px 29 % of the decisions
    would change. Calls are saved otherwise: in small classes all pairs are compared at once, and the kernel is left
    with large classes and with those where a pair lies so close to the threshold that rounding could matter.
    """
    if agnostic:
        return nms(ranked[:, :4].contiguous(), ranked[:, 4].contiguous(), iou_thres)
    order = ranked[:, 5].argsort(stable=True)  # within a class the best stay first
    boxes, confidence, class_ids = ranked.index_select(0, order).split((4, 1, 1), dim=1)
    group, counts = class_ids.flatten().unique_consecutive(return_inverse=True, return_counts=True)[1:]
    starts = counts.cumsum(0) - counts
    by_kernel = counts > MAX_PAIRED

    # every pair within a small class: position of the worse box, and of each better one before it
    positions = torch.arange(len(order))
    rank = positions - starts.index_select(0, group)
    rank.masked_fill_(by_kernel.index_select(0, group), 0)
    worse = positions.repeat_interleave(rank)
    first_pair = rank.cumsum(0) - rank
    better = torch.arange(len(worse)).sub_((first_pair - positions + rank).index_select(0, worse))
    iou = _paired_iou(boxes, better, worse)
    unsure = (iou > 0) & ((iou - iou_thres).abs() < ROUNDING)
    by_kernel.index_fill_(0, group.index_select(0, worse.masked_select(unsure)), True)

    covers = iou > iou_thres
    alive = _greedy(len(order), better.masked_select(covers), worse.masked_select(covers))
    for start, count in zip(starts[by_kernel].tolist(), counts[by_kernel].tolist(), strict=True):
        rows = slice(start, start + count)
        alive[rows] = False
        alive[start + nms(boxes[rows].contiguous(), confidence[rows, 0], iou_thres)] = True
    return order[alive].sort().values


def _paired_iou(boxes: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return the IoU of the xyxy boxes at ``first (n,)`` with those at ``second (n,)``, as torchvision computes it."""
    x1, y1, x2, y2 = boxes.T.contiguous()
    area = (x2 - x1) * (y2 - y1)
    width, height = (
        torch.minimum(high.index_select(0, first), high.index_select(0, second)).sub_(
            torch.maximum(low.index_select(0, first), low.index_select(0, second))
        )
        for low, high in ((x1, x2), (y1, y2))
    )
    inter = width.clamp_(min=0).mul_(height.clamp_(min=0))
    return inter / (area.index_select(0, first) + area.index_select(0, second) - inter)


def _greedy(count: int, better: Tensor, worse: Tensor) -> Tensor:
    """Return which of ``count`` boxes survive, bool, where each box ``better[k]`` that survives removes ``worse[k]``.

    Each round settles at least the boxes whose fate hangs on those of the round before.
    """
    alive = torch.ones(count, dtype=torch.bool)
    while True:
        survivors = torch.ones_like(alive)
        survivors.index_fill_(0, worse.masked_select(alive.index_select(0, better)), False)
        if torch.equal(survivors, alive):
            return alive
        alive = survivors
