"""What was found in an image."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from utils.stopwatch import Speed
from utils.text import counted

Maps = Mapping[str, np.ndarray]  # name of a row of the model → (C, h, w), float32


@dataclass(frozen=True)
class Detections:
    """What was found in one image."""

    boxes: Tensor  # (n, 6) [xyxy in pixels of the image, confidence, class], float32 on the CPU, best first
    shape: tuple[int, int]  # height, width of the image
    speed: Speed
    maps: Maps | None = None  # what the rows of the model made of the image, where it is kept

    def summary(self, names: Mapping[int, str]) -> str:
        """Return ``2 persons, 1 bus``, or ``no detections``."""
        counts = sorted(Counter(self.boxes[:, 5].int().tolist()).items())
        return ", ".join(counted(count, names[class_id]) for class_id, count in counts) or "no detections"
