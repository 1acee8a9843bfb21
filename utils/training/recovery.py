"""What to do once a training has diverged: report it, then stop, or go on from last.pt with a lower learning rate."""

import logging

import torch

from utils.errors import DivergedError
from utils.text import counted
from utils.training.nonfinite import REPORT, Finding, diagnose, write_report
from utils.training.resume import Resumed, read_last, restore
from utils.training.saving import save_last
from utils.training.session import Session

log = logging.getLogger(__name__)

MAX_HALVINGS = 3


def recover(session: Session, error: DivergedError) -> None:
    """Write ``nonfinite.json``, and put the run back where it was saved if --on-nonfinite says so.

    Raises: DivergedError, the given one with where it happened and what is left, where the run cannot go on.
    """
    s = session
    finding = diagnose(s)
    write_report(s, error, finding)
    stopped = _stopped(s, error, finding)
    if s.cfg.on_nonfinite != "rollback" or s.state.saved is None or s.state.halvings == MAX_HALVINGS:
        raise stopped from error
    log.warning("\n%s", stopped.what)
    _roll_back(s)
    epoch, batch = s.state.saved
    log.warning(
        "going on from batch %d of epoch %d with 1/%d of the learning rate (%s left)",
        *(batch, epoch, 2**s.state.halvings, counted(MAX_HALVINGS - s.state.halvings, "rollback")),
    )


def _roll_back(session: Session) -> None:
    """Take up the state of last.pt, in place, halve the learning rate, and save that."""
    s, halvings = session, session.state.halvings + 1
    spent = s.budget.spent if s.budget else 0.0
    checkpoint, damaged = read_last(s.last)
    resumed = Resumed(s.run_dir, checkpoint, s.cfg, damaged)
    s.model.load_state_dict(resumed.state["model"])
    restore(s, resumed)
    s.state.recent.clear()
    if s.budget:
        s.budget.before = spent  # what was for nothing took time too
    s.state.halvings, s.schedule.scale = halvings, 0.5**halvings
    save_last(s)


def _stopped(session: Session, error: DivergedError, finding: Finding) -> DivergedError:
    """Return the error with where it happened and what is left."""
    state = session.state
    left = "nothing was saved"
    if state.saved:
        epoch, batch = state.saved
        left = f"{session.last} holds the run up to batch {batch} of epoch {epoch}"
    if state.halvings:
        left = f"the learning rate was halved {counted(state.halvings, 'time')}; {left}"
    narrow = "give --no-amp, " if session.amp_dtype == torch.float16 else ""  # above 65504 float16 is infinite
    what = f"training diverged in {finding.where(session)}: {error.what}; see {session.run_dir / REPORT}; {left}"
    return DivergedError(what, narrow + error.fix)
