"""Lists of different lengths in two flat arrays, so that the labels of a batch are found without a loop."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """N lists: list i is ``values[starts[i]:starts[i + 1]]``; ``starts`` (N + 1,) begins with 0."""

    values: np.ndarray
    starts: np.ndarray

    @classmethod
    def join(cls, lists: Sequence[np.ndarray], width: int) -> "Ragged":
        """Return the lists, each (n_i, width), as one float32 table."""
        lengths = [len(items) for items in lists]
        full = [np.asarray(items, np.float32).reshape(-1, width) for items in lists if len(items)]
        values = np.concatenate(full) if full else np.zeros((0, width), np.float32)
        return cls(values, starts_of(lengths))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)

    @property
    def owner(self) -> np.ndarray:
        """The list that each value belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def rows(self, lists: np.ndarray) -> np.ndarray:
        """Return the positions in ``values`` of the chosen lists' items, list after list."""
        lengths = self.lengths[lists]
        ends = np.cumsum(lengths)  # where each list ends in the result; its k-th item is moved by one constant
        return np.arange(ends[-1] if len(ends) else 0) + np.repeat(self.starts[lists] - ends + lengths, lengths)

    def take(self, lists: np.ndarray) -> "Ragged":
        """Return the chosen lists; one may be chosen several times."""
        return Ragged(self.values[self.rows(lists)], starts_of(self.lengths[lists]))

    def extend(self, other: "Ragged") -> "Ragged":
        """Return these lists followed by those of ``other``."""
        starts = np.concatenate([self.starts, other.starts[1:] + self.starts[-1]])
        return Ragged(np.concatenate([self.values, other.values]), starts)


def starts_of(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the offsets of lists with these lengths when they are laid end to end."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
