"""A batch that does not fit into the memory: the first epoch starts again with half of it.

The run is then the one of that --batch-size from the start, to the last bit: everything but its folder is made anew.
An optimizer step is made of more, smaller batches (``nominal_batch``).
"""

import logging

from utils.configs.train import TrainConfig
from utils.data.quad import JOINED
from utils.dist import world
from utils.errors import lacking_memory
from utils.training.session import Session

log = logging.getLogger(__name__)


def half_batch(session: Session, cfg: TrainConfig, error: Exception) -> int:
    """Return the batch size to start again with after ``error``, and say so; 0 where the run cannot go on.

    It cannot behind the first epoch, with --resume, of which the start is not known, in several processes, of which
    the others wait in the middle of a batch, and where a batch is as small as can be.
    """
    where = lacking_memory(error)
    if not where or session.state.epoch > 0 or cfg.resume is not None or world() > 1:
        return 0
    least = JOINED if session.cfg.quad else 1
    before = min(session.cfg.batch_size, len(session.scans[0]))
    half = before // 2 // least * least
    if half:
        nominal = session.schedule.hyp.nominal_batch
        log.warning(
            "\n%s has too little memory for --batch-size %d: epoch 0 starts again with %d%s",
            *(where, before, half),
            f"; an optimizer step keeps its {nominal:g} images (nominal_batch)" if before <= nominal else "",
        )
    return half


def forget(session: Session) -> None:
    """Remove the state that was saved in the first epoch."""
    if session.state.saved:
        session.last.unlink(missing_ok=True)
