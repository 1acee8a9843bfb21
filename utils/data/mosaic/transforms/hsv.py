"""Random hue, saturation and value."""

from dataclasses import dataclass

import cv2
import numpy as np

from utils.data.mosaic.transforms._contract import Sample, register_listed, register_transform
from utils.hyper import hyper

HUES = 180  # in OpenCV
STRIP = 64  # rows at a time, so that the steps in between stay in the processor's cache
CUT = -0.4999  # what rounding needs to become cutting; -0.5 would be a tie for whole numbers


@register_listed("hsv", rgb_only=True)
@register_transform
@dataclass(frozen=True)
class Hsv:
    """Multiply hue, saturation and value by factors from 1 ± the three gains."""

    keys = rgb_only = ("hsv_h", "hsv_s", "hsv_v")
    h: float = hyper(0.0, 0, 1)
    s: float = hyper(0.0, 0, 1)
    v: float = hyper(0.0, 0, 1)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        scale_hsv(sample.image, rng.uniform(-1, 1, 3) * (self.h, self.s, self.v) + 1)
        return sample


def scale_hsv(image: np.ndarray, factors: np.ndarray) -> None:
    """Multiply hue, saturation and value of an RGB image (H, W, 3) by three factors, in place.

    Products are cut to whole numbers and at 255; hues go round at 180.
    """
    hue_fits = factors[0] * HUES <= 255  # then OpenCV's conversion takes it modulo 180 by itself
    product = np.concatenate([np.diag([factors[0] if hue_fits else 1, *factors[1:]]), np.full((3, 1), CUT)], 1)
    for top in range(0, len(image), STRIP):
        strip = image[top : top + STRIP]
        hsv = cv2.cvtColor(strip, cv2.COLOR_RGB2HSV)
        if not hue_fits:
            hsv[..., 0] = hsv[..., 0] * factors[0] % HUES
        cv2.cvtColor(cv2.transform(hsv, product), cv2.COLOR_HSV2RGB, dst=strip)
