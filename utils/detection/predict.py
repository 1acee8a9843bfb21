"""Find objects in one image."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from utils.boxes import unletterbox
from utils.checkpoint.facts import Backend
from utils.configs.detect import DetectConfig
from utils.data.letterbox import letterbox
from utils.device import to_float_images
from utils.errors import ConfigError
from utils.imgsz import both_sides, fit_shape
from utils.nms import non_max_suppression
from utils.predictions import Predictions
from utils.stopwatch import Speed, Stopwatch
from utils.text import counted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Detections:
    """What was found in one image."""

    boxes: Tensor  # (n, 6) [xyxy in pixels of the image, confidence, class], float32 on the CPU, best first
    shape: tuple[int, int]  # height, width of the image
    speed: Speed

    def summary(self, names: Mapping[int, str]) -> str:
        """Return ``2 persons, 1 bus``, or ``no detections``."""
        counts = sorted(Counter(self.boxes[:, 5].int().tolist()).items())
        return ", ".join(counted(count, names[class_id]) for class_id, count in counts) or "no detections"


class Predictor:
    """Calls a backend and undoes the letterbox."""

    def __init__(
        self,
        backend: Backend,
        device: torch.device,
        *,
        imgsz: Sequence[int] = (640,),
        nms: Callable[[Predictions], list[Tensor]] = non_max_suppression,
    ) -> None:
        """Take height and width of the input, or one number for both, and NMS with its thresholds filled in."""
        self.backend, self.device, self.nms = backend, device, nms
        self.size = input_size(backend, imgsz)
        self.stopwatch, self.images = Stopwatch(device), 0  # over all calls

    def __call__(self, image: np.ndarray) -> Detections:
        """Return what is in an image (H, W, C), uint8 or uint16, of the channels that the model takes."""
        before = self.stopwatch.speed()
        with self.stopwatch.phase("preprocess"):
            rectangular = self.backend.fixed_size is None  # the smallest rectangle that the strides allow
            boxed, ratio, pad = letterbox(image, self.size, auto=rectangular, stride=self.backend.stride)
            images = to_float_images(torch.from_numpy(boxed).permute(2, 0, 1)[None], self.device)
        with self.stopwatch.phase("inference"), torch.no_grad():
            predictions = self.backend(images)
        with self.stopwatch.phase("nms"):
            found = self.nms(predictions)[0].cpu()
        self.images += 1
        boxes = unletterbox(found[:, :4], ratio, pad, image.shape[:2])
        return Detections(torch.cat((boxes, found[:, 4:]), dim=1), image.shape[:2], self.stopwatch.speed() - before)

    def speed(self) -> Speed:
        """Return the mean over all images so far."""
        return self.stopwatch.speed(self.images)


def build_predictor(cfg: DetectConfig, backend: Backend, device: torch.device) -> Predictor:
    """Return the predictor that the options ask for; the weights file chooses the image size where they do not.

    Raises: ConfigError for classes that the model does not know, and for an impossible size.
    """
    unknown = [class_id for class_id in cfg.classes or () if class_id not in backend.names]
    if unknown:
        raise ConfigError(
            f"--classes {unknown[0]}: the model knows {len(backend.names)} classes",
            f"give ids from 0 to {max(backend.names)}",
        )
    nms = partial(
        non_max_suppression,
        conf_thres=cfg.conf_thres,
        iou_thres=cfg.iou_thres,
        classes=cfg.classes,
        agnostic=cfg.agnostic_nms,
        max_det=cfg.max_det,
    )
    imgsz = cfg.imgsz or backend.fixed_size or backend.trained.default_imgsz()
    return Predictor(backend, device, imgsz=imgsz, nms=nms)


def input_size(backend: Backend, imgsz: Sequence[int]) -> tuple[int, int]:
    """Return (height, width) that the backend takes for ``--imgsz``. Raises: ConfigError."""
    if len(imgsz) not in (1, 2):
        raise ConfigError(f"--imgsz {' '.join(map(str, imgsz))}", "give one number, or height and width")
    if backend.fixed_size is None:
        return fit_shape(imgsz, backend.stride)
    if both_sides(imgsz) != tuple(backend.fixed_size):
        log.info("the model takes images of %d×%d pixels only", *reversed(backend.fixed_size))
    return tuple(backend.fixed_size)
