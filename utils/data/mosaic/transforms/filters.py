"""Occasional blur, median blur, gray and local contrast, each with a probability of its own.

The reference gets these four from the albumentations package where that is installed, with probability 0.01 each.
"""

from dataclasses import replace

import cv2
import numpy as np

from utils.data.mosaic.transforms._contract import Sample, Sometimes, register_listed, register_transform

KERNELS = (3, 5, 7)  # pixels
CLIP_LIMITS = (1.0, 4.0)
GRID = (8, 8)


@register_transform
class Filters:
    keys = ("blur", "median_blur", "gray", "clahe")
    rgb_only = ("median_blur", "gray", "clahe")  # OpenCV has the median of few channels and bits

    def __init__(self, blur: float, median_blur: float, gray: float, clahe: float) -> None:
        shares = ((_blur, blur), (_median_blur, median_blur), (_gray, gray), (_clahe, clahe))
        self.steps = [Sometimes(step, p) for step, p in shares]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        for step in self.steps:
            sample = step(sample, rng)
        return sample


@register_listed("blur")
def _blur(sample: Sample, rng: np.random.Generator) -> Sample:
    side = int(rng.choice(KERNELS))
    image = cv2.blur(sample.image, (side, side))
    return replace(sample, image=image.reshape(sample.image.shape))  # which lacks an axis of one channel


@register_listed("median_blur", rgb_only=True)
def _median_blur(sample: Sample, rng: np.random.Generator) -> Sample:
    return replace(sample, image=cv2.medianBlur(sample.image, int(rng.choice(KERNELS))))


@register_listed("gray", rgb_only=True)
def _gray(sample: Sample, rng: np.random.Generator) -> Sample:
    return replace(sample, image=cv2.cvtColor(cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


@register_listed("clahe", rgb_only=True)
def _clahe(sample: Sample, rng: np.random.Generator) -> Sample:
    """Equalise the lightness in tiles, with limited contrast."""
    lab = cv2.cvtColor(sample.image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(rng.uniform(*CLIP_LIMITS), GRID).apply(lab[..., 0])
    return replace(sample, image=cv2.cvtColor(lab, cv2.COLOR_LAB2RGB))


@register_listed("bgr", rgb_only=True)
def _bgr(sample: Sample, rng: np.random.Generator) -> Sample:
    return replace(sample, image=cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR))
