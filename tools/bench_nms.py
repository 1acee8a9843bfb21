"""Time our suppression against ranking every (box, class) pair, on the load of a validation run.

    python -m tools.bench_nms

25,200 boxes × 80 classes, several labels per box, confidence above 0.001, on one CPU thread, runs interleaved. The
usual way shifts each class by CLASS_OFFSET and so rounds the boxes; ours must equal the kernel run class by class.
"""

import logging
import statistics
import time

import torch
from torch import Tensor
from torchvision.ops import nms

from utils.boxes import cxcywh_to_xyxy
from utils.nms import MAX_CANDIDATES, non_max_suppression
from utils.predictions import BN5C, Predictions

log = logging.getLogger(__name__)
CONF, IOU, MAX_DET, ROUNDS = 0.001, 0.6, 300, 5
CLASS_OFFSET = 7680  # pixels


def rank_everything(predictions: Tensor, shifted: bool = True) -> list[Tensor]:
    """The usual way: list all pairs above the threshold, sort them all, suppress among the first 30,000."""
    detections = []
    for image in predictions:
        image = image[image[:, 4] > CONF]
        confidence = image[:, 5:] * image[:, 4:5]
        box, class_id = (confidence > CONF).nonzero(as_tuple=True)
        rows = torch.cat(
            (cxcywh_to_xyxy(image[:, :4])[box], confidence[box, class_id, None], class_id[:, None].float()), dim=1
        )
        rows = rows[rows[:, 4].argsort(descending=True, stable=True)[:MAX_CANDIDATES]]
        if shifted:
            keep = nms(rows[:, :4] + rows[:, 5:] * CLASS_OFFSET, rows[:, 4], IOU)
        else:
            members = [(rows[:, 5] == class_id).nonzero()[:, 0] for class_id in rows[:, 5].unique()]
            keep = torch.cat([own[nms(rows[own, :4], rows[own, 4], IOU)] for own in members]).sort().values
        detections.append(rows[keep[:MAX_DET]])
    return detections


def random_predictions(generator: torch.Generator) -> Tensor:
    """Independent uniform boxes and scores, as of a model that knows nothing."""
    predictions = torch.rand(1, 25_200, 85, generator=generator)
    predictions[..., :4] *= torch.tensor([640.0, 640.0, 120.0, 120.0])
    return predictions


def clustered_predictions(generator: torch.Generator) -> Tensor:
    """Boxes crowd around 60 objects, each of which has one likely class, as of a trained model."""
    objects = torch.rand(60, 4, generator=generator) * torch.tensor([640.0, 640.0, 160.0, 160.0]) + 20
    owner = torch.randint(60, (25_200,), generator=generator)
    distance = torch.randn(25_200, 4, generator=generator) * 0.25
    boxes = objects[owner] + distance * objects[owner, 2:].repeat(1, 2)
    objectness = torch.exp(-6 * distance.square().sum(1, keepdim=True))
    classes = torch.rand(25_200, 80, generator=generator) * 0.05
    classes[torch.arange(25_200), owner % 80] += 0.9
    return torch.cat((boxes[:, :2], boxes[:, 2:].clamp(min=2), objectness, classes), dim=1)[None]


def compare(predictions: Tensor) -> tuple[float, float]:
    """Return the median seconds of the usual way and of ours, after checking our rows."""
    ways = {
        rank_everything: lambda: rank_everything(predictions),
        non_max_suppression: lambda: non_max_suppression(
            Predictions(predictions, BN5C), CONF, IOU, multi_label=True, max_det=MAX_DET
        ),
    }
    seconds = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, run in ways.items():
            start = time.perf_counter()
            found = run()
            seconds[way].append(time.perf_counter() - start)
    exact = rank_everything(predictions, shifted=False)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, exact, strict=True)), "rows differ"
    return tuple(statistics.median(times) for times in seconds.values())


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    for make in (random_predictions, clustered_predictions):
        usual, ours = compare(make(generator))
        log.info("%s: %.1f ms → %.1f ms, %.0f× faster", make.__name__, usual * 1e3, ours * 1e3, usual / ours)


if __name__ == "__main__":
    main()
