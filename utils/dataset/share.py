"""Share groups of images out so that every part has its share of every class.

Paper: On the Stratification of Multi-Label Data (Sechidis et al., 2011), Algorithm 1, with groups in place of examples:
the class that is left with the fewest images goes first, each of its groups to the part that lacks it most. Beyond the
paper, a part that has no room for half of a group does not get it, as long as another has: where each class is on a few
images only, what they lack would all go to the same part.
"""

from collections.abc import Sequence

import numpy as np


def share_out(counts: np.ndarray, sizes: np.ndarray, shares: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Return the part (G,) of each group.

    ``counts`` (G, C) are the images of each group that show a class, ``sizes`` (G,) all its images; ``shares`` (S,) of
    the parts add up to 1. Of equal choices, chance takes one.
    """
    part = np.full(len(sizes), -1)
    lacks = np.outer(shares, counts.sum(0))  # (S, C)
    room = np.asarray(shares, float) * sizes.sum()  # (S,)
    left = counts.sum(0)

    def place(group: int, wanted: np.ndarray) -> None:
        has_room = room.round(9) >= sizes[group] / 2
        chosen = np.lexsort((rng.random(len(room)), room.round(9), wanted.round(9), has_room))[-1]
        part[group] = chosen
        lacks[chosen] -= counts[group]
        room[chosen] -= sizes[group]

    while left.any():
        rarest = int(np.where(left > 0, left, left.max() + 1).argmin())
        members = np.flatnonzero((part < 0) & (counts[:, rarest] > 0))
        for group in _largest_first(members, counts[:, rarest], rng):
            place(group, lacks[:, rarest])
            left = left - counts[group]
    for group in _largest_first(np.flatnonzero(part < 0), sizes, rng):
        place(group, room)
    return part


def _largest_first(members: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    members = rng.permutation(members)
    return members[np.argsort(-sizes[members], kind="stable")]
