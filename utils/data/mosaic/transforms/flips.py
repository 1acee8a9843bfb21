"""Flips of finished pictures, for lists; those of ``fliplr`` and ``flipud`` cost nothing, as the warp makes them."""

import numpy as np

from utils.data.mosaic.transforms._contract import Sample, register_listed

CENTRE_X, CENTRE_Y = 1, 2  # columns of labels


@register_listed("fliplr")
def _fliplr(sample: Sample, rng: np.random.Generator) -> Sample:
    return Sample(sample.image[:, ::-1].copy(), _mirrored(sample.labels, CENTRE_X))


@register_listed("flipud")
def _flipud(sample: Sample, rng: np.random.Generator) -> Sample:
    return Sample(sample.image[::-1].copy(), _mirrored(sample.labels, CENTRE_Y))


def _mirrored(labels: np.ndarray, column: int) -> np.ndarray:
    labels = labels.copy()
    labels[:, column] = 1 - labels[:, column]
    return labels
