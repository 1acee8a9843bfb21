"""The Python API: a trained detector that is called with images.

model = load("best.pt")
results = model(["street.jpg", array], imgsz=640, conf=0.25)
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from utils.backends.several import augmented, load_backends
from utils.boxes import unletterbox
from utils.checkpoint.facts import DEFAULT_IMGSZ, Backend
from utils.data.letterbox import letterbox
from utils.detection.classes import class_ids
from utils.device import autocast, autocast_dtype, select_device, to_float_images
from utils.errors import ConfigError, DataError
from utils.hub.pictures import Picture, names_of, read_pictures
from utils.hub.results import Results
from utils.imgsz import MAX_IMGSZ, rounded_up
from utils.nms import DETECT_IOU, non_max_suppression
from utils.pixels import PixelFormat, as_picture
from utils.predictions import Predictions
from utils.stopwatch import Stopwatch

log = logging.getLogger(__name__)

SHORT_NAMES = {"size": "imgsz", "conf_thres": "conf", "iou_thres": "iou", "agnostic_nms": "agnostic"}
SETTINGS = ("imgsz", "conf", "iou", "classes", "agnostic", "multi_label", "max_det", "amp", "augment")


def load(
    weights: str | Path | Sequence[str | Path],
    device: str | torch.device = "",
    backbone: str = "",
    layout: str = "",
    **settings: Any,
) -> "Detector":
    """Return the detector of a weights file: a checkpoint, ours or an official one, or an exported file.

    Several files of the same classes are an ensemble: what all of them find, joined by NMS.

    ``device`` is cpu, mps or the index of a GPU; empty, the first GPU, else the CPU. ``backbone`` is file.py:builder
    for a checkpoint that needs a file of yours, which is run; ``layout``, BN5C or B4CN, is for an .onnx file that does
    not tell that of its output. ``settings`` are those of :class:`Detector`.
    Raises: CheckpointError, ConfigError.
    """
    chosen = device if isinstance(device, torch.device) else select_device(str(device))
    return Detector(load_backends(weights, chosen, backbone, layout), chosen, **settings)


class Detector(nn.Module):
    """Finds objects in images of any kind. Its settings are attributes, which a call may override:

    imgsz        longer side of the images, in pixels (that of the training, else 640)
    conf         least confidence (0.25); iou: overlap from which the less confident of two boxes is dropped (0.45, or
                 0.7 after an anchor-free head)
    classes      keep only these classes, by id or name (all); agnostic: boxes of different classes suppress each
                 other (no)
    multi_label  several classes for a box (no); max_det: detections per image (1000); amp: mixed precision (no)
    augment      look at each image in three sizes, once mirrored; .pt files (no)

    ``size``, ``conf_thres``, ``iou_thres`` and ``agnostic_nms`` are other names of these. ``names``, by id or as a
    list, are those of the classes. Raises: ConfigError for names of more or fewer classes than the model finds.
    """

    def __init__(self, backend: Backend, device: torch.device, **settings: Any) -> None:
        super().__init__()
        self.conf, self.iou = 0.25, DETECT_IOU[backend.layout.has_objectness]
        self.imgsz, self.classes, self.max_det = None, None, 1000
        self.agnostic = self.multi_label = self.amp = self.augment = False
        self.backend, self.names, self.stride = backend, dict(backend.names), backend.stride
        self.model = getattr(backend, "model", None)  # a module, so that to(), cpu() and half() reach it
        self._device, self.pixels = device, PixelFormat(backend.channels, backend.bits)
        for name, value in _plain(settings).items():
            setattr(self, name, value)
        self.eval()

    def __setattr__(self, name: str, value: Any) -> None:
        name = SHORT_NAMES.get(name, name)
        super().__setattr__(name, self._by_id(value) if name == "names" else value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self, SHORT_NAMES[name]) if name in SHORT_NAMES else super().__getattr__(name)

    def _by_id(self, names: Mapping[int, str] | Sequence[str]) -> dict[int, str]:
        named = dict(names if isinstance(names, Mapping) else enumerate(names))
        if set(named) != set(self.backend.names):
            what = f"names of {len(named)} classes, but the model finds {len(self.backend.names)}"
            raise ConfigError(what, "give one for each class, from 0 on")
        return named

    @property
    def device(self) -> torch.device:
        """Where the images are taken to."""
        parameter = next(self.parameters(), None)
        return self._device if parameter is None else parameter.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        parameter = next(self.parameters(), None)
        return torch.float32 if parameter is None else parameter.dtype

    @torch.no_grad()
    def forward(self, images: Any, size: int | Sequence[int] | None = None, **options: Any) -> Results | Tensor:
        """Return what is in the images.

        ``images`` is one or a list of: path, URL, PIL image, array (H, W, C), RGB for a model of
        three channels, uint8, uint16 or 0–1, tensor (C, H, W). All
        are letterboxed to one shape, whose longer side is ``size`` or ``imgsz``; without, that of the training, or 640.
        A tensor (B, C, H, W) of floats in 0–1 is no list of images but the model's own input, and gives predictions
        as one tensor, (B, N, 5 + nc) or in the layout of its head. ``options`` override the settings.
        Raises: DataError, ConfigError.
        """
        options = _plain({"size": size, **options})
        if isinstance(images, Tensor) and images.ndim == 4:
            if not images.is_floating_point():
                fix = "divide it by its largest value, 255 for 8 bits, or give the images as list(batch)"
                raise DataError(f"a batch of {images.dtype}, where the model takes 0–1", fix)
            return self._predict(images.to(self.device), options).output.clone()
        watch = Stopwatch(self.device)
        with watch.phase("preprocess"):
            pictures = read_pictures(images, self.pixels)
            boxed, places = self._letterboxed(pictures, options.get("imgsz", self.imgsz))
            batch = to_float_images(torch.from_numpy(boxed).permute(0, 3, 1, 2), self.device)
        with watch.phase("inference"):
            predictions = self._predict(batch, options)
        with watch.phase("nms"):
            found = [
                torch.cat((unletterbox(rows[:, :4], *place, picture.image.shape[:2]), rows[:, 4:]), dim=1)
                for rows, place, picture in zip(self._suppress(predictions, options), places, pictures, strict=True)
            ]
        ims = [as_picture(picture.image) for picture in pictures]
        return Results(ims, found, names_of(pictures), self.names, watch.speed(len(pictures)), batch.shape)

    def _predict(self, images: Tensor, options: Mapping[str, Any]) -> Predictions:
        backend = augmented(self.backend) if options.get("augment", self.augment) else self.backend
        with autocast(self.device, autocast_dtype(self.device, options.get("amp", self.amp))):
            predictions = backend(images.to(self.dtype))
        return replace(predictions, output=predictions.output.float())

    def _suppress(self, predictions: Predictions, options: Mapping[str, Any]) -> list[Tensor]:
        s = {name: options.get(name, getattr(self, name)) for name in SETTINGS}
        classes = None if s["classes"] is None else self._class_ids(s["classes"])
        return non_max_suppression(
            predictions, s["conf"], s["iou"], classes, s["agnostic"], s["multi_label"], max_det=s["max_det"]
        )

    def _class_ids(self, classes: Any) -> list[int]:
        """Return the ids of classes, one or several, each an id or a name. Raises: ConfigError."""
        given = [classes] if isinstance(classes, str | int) else [c if isinstance(c, str) else int(c) for c in classes]
        ids = [[c] if c in self.names else class_ids([str(c)], self.names, "classes") for c in given]
        return list(chain.from_iterable(ids))

    def _letterboxed(self, pictures: Sequence[Picture], imgsz: int | Sequence[int] | None) -> tuple[np.ndarray, list]:
        """Return the images (B, H, W, C) in one shape, and ratio and padding of each."""
        shape = self._common_shape([picture.image.shape[:2] for picture in pictures], imgsz)
        boxed, *places = zip(*(letterbox(picture.image, shape) for picture in pictures), strict=True)
        return np.stack(boxed), list(zip(*places, strict=True))

    def _common_shape(self, shapes: Sequence[tuple[int, int]], imgsz: int | Sequence[int] | None) -> tuple[int, int]:
        """Return (height, width) that every image fits into once its longer side is the longer one of ``imgsz``."""
        fixed = self.backend.fixed_size
        if imgsz is None:
            imgsz = fixed or self.backend.trained.imgsz or DEFAULT_IMGSZ  # without a word: the program did not ask
        sides = imgsz if isinstance(imgsz, list | tuple) else [imgsz]
        whole = all(isinstance(side, int | np.integer) and 1 <= side <= MAX_IMGSZ for side in sides)
        if not whole or len(sides) not in (1, 2):
            raise ConfigError(f"imgsz is {imgsz!r}", "give one whole number, or height and width")
        longest = max(sides)
        if fixed is not None:
            if longest != max(fixed):
                log.warning("the model takes images of %d×%d pixels only, not of %d", *reversed(fixed), longest)
            return tuple(fixed)
        fitted = np.array([[int(side * longest / max(shape)) for side in shape] for shape in shapes]).max(axis=0)
        height, width = (rounded_up(int(side), self.stride) for side in fitted)
        return height, width


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options by their short names, without those that are None. Raises: ConfigError for an unknown one."""
    named = {SHORT_NAMES.get(name, name): value for name, value in options.items() if value is not None}
    for name in named:
        if name not in SETTINGS:
            raise ConfigError(f"unknown option {name!r}", f"known: {', '.join(SETTINGS)}")
    return named
