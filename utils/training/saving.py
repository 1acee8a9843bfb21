"""The weights files of a run: last.pt, with which it can go on, and best.pt and epochN.pt, to be used."""

import logging
import shutil
from datetime import datetime, timezone
from typing import Any

import torch

from utils.checkpoint.native import save_checkpoint
from utils.config import option_values
from utils.dist import rank
from utils.errors import StorageError
from utils.training.finite import check_finite
from utils.training.resume import PREVIOUS, capture
from utils.training.session import Session
from utils.training.spent import SAVING

log = logging.getLogger(__name__)

MIB = 2**20


def check_room(session: Session) -> None:
    """Warn where the disk has no room for last.pt, the one before it, and the next while it is written.

    Raises: StorageError where not even one more fits.
    """
    s = session
    size, usage = _state_size(s), shutil.disk_usage(s.weights_dir)
    missing = 3 - sum(path.exists() for path in (s.last, s.last.with_name(PREVIOUS)))
    if not usage.total or usage.free >= missing * size:  # a network disk without a total says nothing
        return
    what = (
        f"{s.weights_dir}: a state of this run takes about {size / MIB:.1f} MiB, and there must be room for {missing}"
    )
    what += f"; free are {usage.free / MIB:.1f} MiB"
    if usage.free < size:
        raise StorageError(what, "free some space, or work in another folder")
    log.warning("%s: a save may fail; what was saved before it stays", what)


def _state_size(session: Session) -> int:
    """Return about how many bytes last.pt will have: weights, average, gradients, and one or two of the optimizer."""
    per_weight = 4 if isinstance(session.stepper.optimizer, torch.optim.SGD) else 5
    return per_weight * sum(tensor.nbytes for tensor in session.model.state_dict().values())


def save_last(session: Session) -> None:
    """Write last.pt with the averaged weights and the state of the run; the one before becomes last.prev.pt.

    Raises: DivergedError where anything in it is not finite, before it is written.
    """
    s = session
    with s.spent.on(SAVING):
        s.stepper.check()
        facts, state = _facts(s), capture(s)
        check_finite({key: state[key] for key in ("model", "stepper", "losses")})
        if rank() == 0:
            training = facts.pop("training") | {"resume": state}
            save_checkpoint(s.last, s.ema.ema, **facts, training=training, previous=s.last.with_name(PREVIOUS))
    s.state.saved = s.state.epoch, s.state.batch


def save_weights(session: Session, name: str, half: bool = False) -> None:
    """Write the averaged weights alone, for use: best.pt, epochN.pt; ``half`` stores most of them in float16."""
    if rank() == 0:
        save_checkpoint(session.weights_dir / name, session.ema.ema, half=half, **_facts(session))


def _facts(session: Session) -> dict[str, Any]:
    """Return what both files say of the run."""
    s = session
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    training = {"opt": option_values(s.cfg), "hyp": s.hyp, "date": date}
    fitness = max(s.stopper.best_fitness, 0.0)
    return {"epoch": s.state.epoch - 1, "fitness": fitness, "training": training, "imgsz": s.imgsz}
