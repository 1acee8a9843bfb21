"""One pass over the training images."""

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor

from utils.collective import is_shared, largest, mean
from utils.data.batch import Batch
from utils.device import autocast, memory_gb, to_float_images
from utils.dist import rank
from utils.errors import LOWER_RATE, DivergedError
from utils.held_signals import Caught
from utils.plots.batches import plot_batch
from utils.progress import Bar, Lines, progress_bar
from utils.training.multi_scale import multi_scale, size_grid
from utils.training.processes import without_exchange
from utils.training.saving import save_last
from utils.training.session import Session
from utils.training.spent import COMPUTE, STEP

log = logging.getLogger(__name__)

REFRESH_S = 0.2  # reading the losses more often would make a GPU wait
BATCHES_DRAWN = 3


def train_epoch(session: Session, caught: Caught) -> list[float]:
    """Train the rest of an epoch and return the mean of each term of the loss over all of it.

    It ends behind the batch during which a signal was ``caught``. Raises: DivergedError.
    """
    s, epoch, first = session, session.state.epoch, session.state.batch
    s.model.train()
    s.freezing.start(epoch)
    s.train_loader.set_epoch(epoch, first)
    header = line(s.loss.terms, "Epoch", "Memory", titles(s.loss.terms), "Boxes", "Size")
    log.info("\n%s", f"{header}  {s.pace.left(epoch)}".rstrip())
    if first < len(s.train_loader):
        with progress_bar(s.train_loader, first=first) as progress:
            _train_batches(s, progress, caught)
    return (mean(s.state.losses) / max(s.state.batch, 1)).tolist()


def _train_batches(session: Session, progress: Bar | Lines, caught: Caught) -> None:
    s, state, steps = session, session.state, len(session.train_loader)
    epoch, shown_at = state.epoch, 0.0
    for batch in s.spent.waiting(_until(progress, caught)):
        step = state.batch + epoch * steps
        accumulate = s.schedule.set(step, epoch)
        s.cores.adapt()
        s.pace.batch()

        with s.spent.on(COMPUTE), without_exchange(s.network, s.stepper.steps_at(step, accumulate)):
            images = network_input(s, batch, epoch, state.batch)
            loss, items = forward(s, images, batch.targets)
            state.note(batch.paths, items, is_first=s.stepper.is_fresh)
            s.stepper.backward(s.loss_factor * loss)
        with s.spent.on(STEP):
            s.stepper.step(step, accumulate)

        state.next_batch(items)
        caught.number = largest(caught.number)
        if time.monotonic() - shown_at > REFRESH_S or state.batch == steps or caught.number:
            shown_at = time.monotonic()
            means = _finite((state.losses / state.batch).tolist(), is_shared())
            progress.set_description_str(_line(s, epoch, means, len(batch.targets), images.shape[-1]), refresh=False)
        if epoch == 0 and state.batch <= BATCHES_DRAWN and s.cfg.plots and rank() == 0:
            picture = s.run_dir / f"train_batch{state.batch - 1}.jpg"
            plot_batch(batch.images, batch.targets, picture, paths=batch.paths, names=s.spec.names)
        if caught.number:
            break
        if s.cfg.save_steps and state.batch % s.cfg.save_steps == 0 and state.batch < steps:
            save_last(s)


def _until(batches: Iterable[Batch], caught: Caught) -> Iterator[Batch]:
    """Yield the batches; where a ``caught`` signal has ended the loader processes too, as SLURM's does, those made."""
    try:
        yield from batches
    except (RuntimeError, OSError, EOFError):  # OSError, EOFError: of a batch that was being handed over
        if not caught.number or is_shared():  # the others have their batch, and wait for this process
            raise


def network_input(session: Session, batch: Batch, epoch: int, number: int) -> Tensor:
    """Return the images of batch ``number`` as the model gets them: (B, 3, H, W) floats in 0–1, on its device."""
    s = session
    images = to_float_images(batch.images, s.device)
    if s.cfg.multi_scale:
        images = multi_scale(images, size_grid(s.model.size_multiple), s.cfg.seed, epoch, number)
    return images


def forward(session: Session, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of a batch, and its terms (terms,) detached."""
    with autocast(session.device, session.amp_dtype):
        maps = session.network(images)
    return session.loss(maps, targets)


def _finite(means: list[float], is_shared: bool) -> list[float]:
    """Return the losses. Raises: DivergedError; several processes find out together, when they step."""
    if not is_shared and not all(map(math.isfinite, means)):
        raise DivergedError("a loss is not finite", LOWER_RATE)
    return means


def _line(session: Session, epoch: int, means: list[float], boxes: int, size: int) -> str:
    name = f"{epoch}/{session.epochs - 1}"
    losses = [f"{mean:.3g}" for mean in means]
    memory = f"{memory_gb(session.device):.3g}G"
    return line(session.loss.terms, name, memory, losses, boxes, size)


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
