"""What a loss is, and the table of those that there are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from utils.registry import Registry

LOSSES = Registry("loss for the head")


class Loss(Protocol):
    """Compares the raw maps of a head with targets."""

    terms: tuple[str, ...]  # what its parts are called in the progress bar and, as NAME_loss, in results.csv

    def __call__(self, maps: Sequence[Tensor], targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the number to minimise, and its parts (len(terms),) detached.

        ``targets (T, 6)``: [image index, class, cx, cy, w, h in 0–1], on the CPU.
        """


@dataclass(frozen=True)
class LossEntry:
    """How the loss of a head is built, and the hyper-parameters that it brings along."""

    build: Callable[[Any, Mapping[str, Any], int], Loss]  # head, hyper-parameters, imgsz
    hyper: tuple[type, ...]  # dataclasses of ``utils.hyper`` fields
    file: str  # of data/hyps: the hyper-parameters where neither the user nor the data set names any


def register_loss(head: str, *hyper: type, file: str = "hyp.scratch-low.yaml") -> Callable[[Callable], Callable]:
    """Return a decorator that lists a builder (head, hyp, imgsz) → Loss under the class name of the head."""

    def decorate(build: Callable) -> Callable:
        LOSSES.register(head)(LossEntry(build, hyper, file))
        return build

    return decorate
