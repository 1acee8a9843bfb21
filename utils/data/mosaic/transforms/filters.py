"""Occasional blur, median blur, gray and local contrast, each with a probability of its own.

The reference gets these four from the albumentations package where that is installed, with probability 0.01 each.
"""

import cv2
import numpy as np

from utils.data.mosaic.transforms._contract import Sample, register_transform

KERNELS = (3, 5, 7)  # pixels
CLIP_LIMITS = (1.0, 4.0)
GRID = (8, 8)


@register_transform
class Filters:
    keys = ("blur", "median_blur", "gray", "clahe")
    rgb_only = ("median_blur", "gray", "clahe")  # OpenCV has the median of few channels and bits

    def __init__(self, blur: float, median_blur: float, gray: float, clahe: float) -> None:
        self.steps = ((blur, _blur), (median_blur, _median_blur), (gray, _gray), (clahe, _clahe))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = sample.image
        for probability, step in self.steps:
            if rng.random() < probability:
                image = step(image, rng)
        return Sample(image, sample.labels)


def _blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    side = int(rng.choice(KERNELS))
    return cv2.blur(image, (side, side)).reshape(image.shape)  # which lacks an axis of one channel


def _median_blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return cv2.medianBlur(image, int(rng.choice(KERNELS)))


def _gray(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _clahe(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Equalise the lightness in tiles, with limited contrast."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(rng.uniform(*CLIP_LIMITS), GRID).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
