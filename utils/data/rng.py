"""Random numbers of the data pipeline: a function of (seed, epoch, index, purpose), never of worker or rank."""

import enum

import numpy as np


class Stream(enum.IntEnum):
    """What numbers are drawn for; streams of the same index are independent of each other."""

    ORDER = 0  # index 0: the order of an epoch
    PARTNERS = 1  # index = batch: which images join its mosaics
    GEOMETRY = 2  # index = position in the epoch, as for the next two
    MIXUP = 3
    TRANSFORMS = 4
    PASTE = 5  # index = twice the position, + 1 for the picture that is mixed in
    SCALE = 6  # index = batch: its size in multi-scale training
    QUAD = 7  # index = batch: which pictures are one sample, enlarged


def generator(seed: int, epoch: int, index: int, stream: Stream) -> np.random.Generator:
    """Return a generator that starts where no other (seed, epoch, index, stream) ever arrives."""
    key = np.array([seed % 2**64, stream], np.uint64)
    counter = np.array([0, 0, index, epoch], np.uint64)  # the lowest word counts the draws
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
