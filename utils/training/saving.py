"""What a run writes: last.pt, with which it can go on, and best.pt, to be used."""

from datetime import datetime, timezone
from typing import Any

from utils.checkpoint.native import save_checkpoint
from utils.config import option_values
from utils.training.resume import PREVIOUS, capture
from utils.training.session import Session


def save_last(session: Session) -> None:
    """Write last.pt with the averaged weights and the state of the run; the one before becomes last.prev.pt."""
    s = session
    facts = _facts(s)
    training = facts.pop("training") | {"resume": capture(s)}
    save_checkpoint(s.last, s.ema.ema, **facts, training=training, previous=s.last.with_name(PREVIOUS))
    s.state.saved = s.state.epoch, s.state.batch


def save_best(session: Session) -> None:
    """Write best.pt, which is half as large as its weights."""
    save_checkpoint(session.weights_dir / "best.pt", session.ema.ema, half=True, **_facts(session))


def _facts(session: Session) -> dict[str, Any]:
    """Return what both files say of the run."""
    s = session
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    training = {"opt": option_values(s.cfg), "hyp": s.hyp, "date": date}
    fitness = max(s.stopper.best_fitness, 0.0)
    return {"epoch": s.state.epoch - 1, "fitness": fitness, "training": training, "imgsz": s.imgsz}
