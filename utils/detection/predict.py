"""Find objects in images."""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from utils.boxes import unletterbox
from utils.checkpoint.facts import Backend
from utils.configs.detect import SUPPRESSED, DetectConfig
from utils.data.letterbox import letterbox
from utils.detection.classes import class_ids, class_thresholds
from utils.detection.features import FeatureMaps
from utils.detection.found import Detections, Maps
from utils.detection.tiles import TiledPredictor, merge_boxes
from utils.device import to_float_images
from utils.errors import ConfigError
from utils.idle_options import check_idle
from utils.imgsz import both_sides, fit_shape
from utils.nms import DETECT_IOU, non_max_suppression
from utils.predictions import Predictions
from utils.stopwatch import Speed, Stopwatch

log = logging.getLogger(__name__)


class Predictor:
    """Calls a backend and undoes the letterbox."""

    def __init__(
        self,
        backend: Backend,
        device: torch.device,
        *,
        imgsz: Sequence[int] = (640,),
        nms: Callable[[Predictions], list[Tensor]] = non_max_suppression,
        maps: FeatureMaps | None = None,
    ) -> None:
        """Take height and width of the input, or one number for both, NMS with its thresholds, and who keeps maps."""
        self.backend, self.device, self.nms, self.maps = backend, device, nms, maps
        self.size = input_size(backend, imgsz)
        self.stopwatch, self.images = Stopwatch(device), 0  # over all calls

    def __call__(self, image: np.ndarray) -> Detections:
        """Return what is in an image (H, W, C), uint8 or uint16, of the channels that the model takes."""
        return self.batch([image])[0]

    def batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Return what is in each of several images, of any sizes, as if it had come alone.

        Those that are letterboxed to one shape share a forward pass.
        """
        before = self.stopwatch.speed()
        with self.stopwatch.phase("preprocess"):
            rectangular = self.backend.fixed_size is None  # the smallest rectangle that the strides allow
            boxed = [letterbox(image, self.size, auto=rectangular, stride=self.backend.stride) for image in images]
        places = defaultdict(list)
        for index, (canvas, *_) in enumerate(boxed):
            places[canvas.shape].append(index)
        found: dict[int, tuple[Tensor, Maps | None]] = {}
        for indices in places.values():
            found |= zip(indices, self._forward([boxed[index][0] for index in indices]), strict=True)
        self.images += len(images)
        speed = (self.stopwatch.speed() - before) / len(images)
        detections = []
        for index, image in enumerate(images):
            rows, maps = found[index]
            boxes = unletterbox(rows[:, :4], *boxed[index][1:], image.shape[:2])
            detections.append(Detections(torch.cat((boxes, rows[:, 4:]), dim=1), image.shape[:2], speed, maps))
        return detections

    def _forward(self, boxed: Sequence[np.ndarray]) -> list[tuple[Tensor, Maps | None]]:
        """Return boxes (n, 6) in pixels of the input, and maps if they are kept, for each of images of one shape."""
        with self.stopwatch.phase("preprocess"):
            canvases = np.stack(boxed) if len(boxed) > 1 else boxed[0][None]  # without a copy
            batch = torch.from_numpy(canvases).permute(0, 3, 1, 2)
            images = to_float_images(batch, self.device)
        with self.stopwatch.phase("inference"), torch.no_grad():
            predictions = self.backend(images)
        with self.stopwatch.phase("nms"):
            rows = [found.cpu() for found in self.nms(predictions)]
        maps = self.maps.take(len(boxed)) if self.maps else [None] * len(boxed)
        return list(zip(rows, maps, strict=True))

    def speed(self) -> Speed:
        """Return the mean over all images so far."""
        return self.stopwatch.speed(self.images)


def build_predictor(cfg: DetectConfig, backend: Backend, device: torch.device) -> Predictor | TiledPredictor:
    """Return the predictor that the options ask for; the weights file chooses the image size where they do not.

    Raises: ConfigError for classes that the model does not know, and for an impossible size.
    """
    if backend.layout.is_suppressed:
        check_idle(cfg, SUPPRESSED)
    iou_thres = DETECT_IOU[backend.layout.has_objectness] if cfg.iou_thres is None else cfg.iou_thres
    nms = partial(
        non_max_suppression,
        conf_thres=cfg.conf_thres,
        iou_thres=iou_thres,
        classes=None if cfg.classes is None else class_ids(cfg.classes, backend.names),
        agnostic=cfg.agnostic_nms,
        max_det=cfg.max_det,
        class_thres=class_thresholds(cfg.class_conf, backend.names),
    )
    imgsz = cfg.imgsz or backend.fixed_size or backend.trained.default_imgsz()
    maps = FeatureMaps(backend) if cfg.visualize else None
    predict = Predictor(backend, device, imgsz=imgsz, nms=nms, maps=maps)
    if not cfg.tile:
        return predict
    merge = partial(merge_boxes, iou_thres=iou_thres, agnostic=cfg.agnostic_nms, max_det=cfg.max_det)
    return TiledPredictor(predict, cfg.tile, cfg.overlap, merge, cfg.batch)


def input_size(backend: Backend, imgsz: Sequence[int]) -> tuple[int, int]:
    """Return (height, width) that the backend takes for ``--imgsz``. Raises: ConfigError."""
    if len(imgsz) not in (1, 2):
        raise ConfigError(f"--imgsz {' '.join(map(str, imgsz))}", "give one number, or height and width")
    if backend.fixed_size is None:
        return fit_shape(imgsz, backend.stride)
    if both_sides(imgsz) != tuple(backend.fixed_size):
        log.info("the model takes images of %d×%d pixels only", *reversed(backend.fixed_size))
    return tuple(backend.fixed_size)
