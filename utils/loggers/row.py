"""The figures of one epoch under the headings that third-party tools read in results.csv."""

from collections.abc import Sequence

METRICS = ("metrics/precision", "metrics/recall", "metrics/mAP_0.5", "metrics/mAP_0.5:0.95")
RATES = ("x/lr0", "x/lr1", "x/lr2")


def headings(terms: Sequence[str]) -> tuple[str, ...]:
    """Return the headings for a loss of these ``terms``; those of YOLOv5 for box, obj and cls."""
    losses = [[f"{part}/{term}_loss" for term in terms] for part in ("train", "val")]
    return ("epoch", *losses[0], *METRICS, *losses[1], *RATES)


def epoch_row(
    epoch: int,
    terms: Sequence[str],
    train_losses: Sequence[float],
    metrics: Sequence[float],
    val_losses: Sequence[float],
    learning_rates: Sequence[float],
) -> dict[str, float]:
    """Return a row by heading.

    Losses are those of ``terms``; metrics are precision, recall, mAP@0.5, mAP@0.5:0.95; learning rates are those of
    biases, decayed weights and norm weights.
    """
    values = (epoch, *train_losses, *metrics, *val_losses, *learning_rates)
    return dict(zip(headings(terms), map(float, values), strict=True))
