"""One pass over the training images."""

import logging
import math
import time
from collections.abc import Sequence
from typing import Any

import torch

from utils.device import autocast, memory_gb, to_float_images
from utils.errors import LOWER_RATE, DivergedError
from utils.plots.batches import plot_batch
from utils.progress import Bar, Lines, progress_bar
from utils.training.session import Session

log = logging.getLogger(__name__)

REFRESH_S = 0.2  # reading the losses more often would make a GPU wait
BATCHES_DRAWN = 3


def train_epoch(session: Session, epoch: int) -> list[float]:
    """Train one epoch and return the mean of each term of the loss. Raises: DivergedError."""
    s = session
    s.model.train()
    for module in s.frozen:
        module.eval()
    s.train_loader.set_epoch(epoch)
    header = line(s.loss.terms, "Epoch", "Memory", titles(s.loss.terms), "Boxes", "Size")
    log.info("\n%s", f"{header}  {s.pace.left(epoch)}".rstrip())
    with progress_bar(s.train_loader) as progress:
        return _train_batches(s, epoch, progress)


def _train_batches(session: Session, epoch: int, progress: Bar | Lines) -> list[float]:
    s, steps = session, len(session.train_loader)
    total = torch.zeros(len(s.loss.terms), device=s.device)
    shown_at = 0.0
    for index, batch in enumerate(progress):
        step = index + epoch * steps
        accumulate = s.schedule.set(step, epoch)
        s.cores.adapt()
        s.pace.batch()

        images = to_float_images(batch.images, s.device)
        with autocast(s.device, s.amp_dtype):
            maps = s.model(images)
        loss, items = s.loss(maps, batch.targets)
        s.stepper.backward(loss)
        s.stepper.step(step, accumulate)

        total += items
        if time.monotonic() - shown_at > REFRESH_S or index + 1 == steps:
            shown_at = time.monotonic()
            means = _finite((total / (index + 1)).tolist(), index)
            progress.set_description_str(_line(s, epoch, means, batch), refresh=False)
        if epoch == 0 and index < BATCHES_DRAWN and s.cfg.plots:
            picture = s.run_dir / f"train_batch{index}.jpg"
            plot_batch(batch.images, batch.targets, picture, paths=batch.paths, names=s.spec.names)
    return means


def _finite(means: list[float], index: int) -> list[float]:
    """Return the losses. Raises: DivergedError."""
    if not all(map(math.isfinite, means)):
        raise DivergedError(f"a loss is not finite at batch {index}", LOWER_RATE)
    return means


def _line(session: Session, epoch: int, means: list[float], batch) -> str:
    name = f"{epoch}/{session.cfg.epochs - 1}"
    losses = [f"{mean:.3g}" for mean in means]
    memory = f"{memory_gb(session.device):.3g}G"
    return line(session.loss.terms, name, memory, losses, len(batch.targets), batch.images.shape[-1])


def titles(terms: Sequence[str]) -> list[str]:
    """Return what the columns of a loss are called."""
    return [f"{term}_loss" for term in terms]


def line(terms: Sequence[str], *cells: Any) -> str:
    """Return epoch, memory, the parts of the loss, boxes and size in columns, or the titles of these.

    With three losses of short names, percent, count and time left fit into 80 characters.
    """
    epoch, memory, losses, boxes, size = cells
    width = max(9, *(len(title) + 1 for title in titles(terms)))
    return f"{epoch:>7}{memory:>7}{''.join(f'{loss:>{width}}' for loss in losses)}{boxes:>7}{size:>6}"
