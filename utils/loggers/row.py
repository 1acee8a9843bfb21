"""The figures of one epoch under the headings that third-party tools read in results.csv."""

from collections.abc import Sequence

HEADINGS = (
    "epoch",
    "train/box_loss",
    "train/obj_loss",
    "train/cls_loss",
    "metrics/precision",
    "metrics/recall",
    "metrics/mAP_0.5",
    "metrics/mAP_0.5:0.95",
    "val/box_loss",
    "val/obj_loss",
    "val/cls_loss",
    "x/lr0",
    "x/lr1",
    "x/lr2",
)


def epoch_row(
    epoch: int,
    train_losses: Sequence[float],
    metrics: Sequence[float],
    val_losses: Sequence[float],
    learning_rates: Sequence[float],
) -> dict[str, float]:
    """Return a row by heading.

    Losses are box, objectness, class; metrics are precision, recall, mAP@0.5, mAP@0.5:0.95; learning rates are those
    of biases, decayed weights and norm weights.
    """
    values = (epoch, *train_losses, *metrics, *val_losses, *learning_rates)
    return dict(zip(HEADINGS, map(float, values), strict=True))
