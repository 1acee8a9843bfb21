"""How much of its mAP50-95 a detector loses by computing in integers, on validation images."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from utils.backends.pt import PyTorchBackend
from utils.checkpoint.facts import Backend
from utils.data.loader import build_val_loader
from utils.data.scan.class_selection import keep_classes
from utils.data.scan.scan import scan_split
from utils.data.scan.spec import DataSpec
from utils.evaluation.evaluate import evaluate, val_nms
from utils.evaluation.inputs import agreed_classes, check_channels, class_table_nms
from utils.export.calibrate import spread
from utils.export.int8 import MapDrop
from utils.export.suppress import Suppression
from utils.nms import non_max_suppression
from utils.predictions import BN6, Predictions
from utils.text import counted

log = logging.getLogger(__name__)

IMAGES = 1000  # at most, spread evenly over the validation images
FEW = 50  # of less a single image, or label, is more than the 0.02 of mAP50-95 that may be lost
BATCH_SIZE = 16
CPU = torch.device("cpu")


class DropMeter:
    """Measures files against the model that they were made from, ``imgsz`` (height, width) being that of the export."""

    def __init__(self, model: PyTorchBackend, data: DataSpec, imgsz: tuple[int, int]) -> None:
        """Raises: ConfigError where model and data do not fit, DataError for images and labels that cannot be used."""
        self.model, self.data, self.imgsz = model, data, imgsz
        check_channels(model, data)
        selection, self.classes, self.names, self.single = agreed_classes(model.names, model.trained, data)
        scan = scan_split(data, data.val)
        scan = keep_classes(scan, selection, data.nc) if selection else scan
        self.scan = scan.take(spread(len(scan), IMAGES))
        self.known: dict[tuple, float] = {}
        labels = sum(map(len, self.scan.labels))
        if min(len(self.scan), labels) < FEW:
            log.warning(
                "what --int8 costs is measured on %s of %s with %s; of fewer than %d a single one can decide",
                *(counted(len(self.scan), "image"), data.file.name, counted(labels, "label"), FEW),
            )

    def __call__(self, backend: Backend, nms: Suppression | None = None) -> MapDrop:
        """Return what a file loses; ``nms`` is the suppression in it, which the model then goes by as well."""
        key = backend.fixed_size, nms
        if key not in self.known:
            log.info("mAP of the model in float32:")
            self.known[key] = self._map(backend, suppressed(self.model, nms) if nms else self.model)
        log.info("mAP of the file in integers:")
        return MapDrop(self.known[key], self._map(backend, backend), len(self.scan), self.data.file.name)

    def _map(self, file: Backend, predict: Callable[[Tensor], Predictions]) -> float:
        """Return the mAP50-95 of ``predict`` on images as a file takes them."""
        is_open = file.fixed_size is None
        imgsz = max(self.imgsz) if is_open else self.imgsz
        loader = build_val_loader(self.scan, imgsz, BATCH_SIZE, file.stride, workers=0, rect=is_open)
        nms = class_table_nms(val_nms, self.classes)
        found = evaluate(predict, loader, names=self.names, device=CPU, nms=nms, single_cls=self.single)
        return float(found.metrics.map)


def suppressed(model: Callable[[Tensor], Predictions], nms: Suppression) -> Callable[[Tensor], Predictions]:
    """Return the model with the suppression that a file holds, in the layout of such files."""

    def predict(images: Tensor) -> Predictions:
        options = {"agnostic": nms.agnostic, "max_det": nms.max_det}
        detections = non_max_suppression(model(images), nms.conf_thres, nms.iou_thres, **options)
        output = torch.zeros(len(images), nms.max_det, 6)
        for rows, found in zip(output, detections, strict=True):
            rows[: len(found)] = found
        return Predictions(output, BN6)

    return predict
