"""How far a run has come."""

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor


class Seen(NamedTuple):
    """A batch that was trained."""

    epoch: int
    batch: int
    paths: list[str]  # of its images, without the partners in mosaics
    items: Tensor  # (terms,) of its loss


@dataclass
class RunState:
    """The place of a run, between two batches. With weights, optimizer and generators it is all that going on needs."""

    losses: Tensor  # (terms,) of the loss, summed over the batches of this epoch
    epoch: int = 0  # that is trained, from 0
    batch: int = 0  # how many of its batches are done
    rows: list[dict[str, float]] = field(default_factory=list)  # of results.csv, one of each finished epoch
    saved: tuple[int, int] | None = None  # epoch and batch that last.pt holds
    halvings: int = 0  # of the learning rate, see --on-nonfinite
    recent: list[Seen] = field(default_factory=list)  # the batches of the optimizer step that is being made, or was

    def note(self, paths: list[str], items: Tensor, is_first: bool) -> None:
        """Note what a batch has, before its gradients are used; ``is_first`` of an optimizer step."""
        if is_first:
            self.recent.clear()
        self.recent.append(Seen(self.epoch, self.batch, paths, items))

    def next_batch(self, items: Tensor) -> None:
        """Note a batch and the terms of its loss (terms,)."""
        self.losses += items
        self.batch += 1

    def next_epoch(self, row: dict[str, float]) -> None:
        """Note a finished epoch and its figures."""
        self.rows.append(row)
        self.epoch, self.batch = self.epoch + 1, 0
        self.losses.zero_()
