"""The weights files of a run: last.pt, with which it can go on, and best.pt and epochN.pt, to be used."""

from datetime import datetime, timezone
from typing import Any

from utils.checkpoint.native import save_checkpoint
from utils.config import option_values
from utils.dist import rank
from utils.training.finite import check_finite
from utils.training.resume import PREVIOUS, capture
from utils.training.session import Session
from utils.training.spent import SAVING


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
