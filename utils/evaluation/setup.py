"""What one model is measured with: its backend, the data, the classes that both mean."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from utils.backends.several import load_backends
from utils.checkpoint.facts import Backend
from utils.configs.val import ValConfig
from utils.data.scan.class_selection import Selection
from utils.data.scan.spec import DataSpec, load_data_spec
from utils.device import select_device
from utils.evaluation.coco import CocoTruth
from utils.evaluation.evaluate import VAL_IOU, Evaluation, Observer, evaluate
from utils.evaluation.inputs import (
    agreed_classes,
    build_loader,
    build_nms,
    check_channels,
    split_of,
    truth_for,
)

WARM_UP = 2  # forward passes before times count


@dataclass(frozen=True)
class Setup:
    """A model and the data that it is measured on; ``cfg`` is that of this model alone, with every default filled in.

    ``classes`` are what those of the model count as, where it has more than the data, or another order (``build_nms``).
    """

    cfg: ValConfig
    device: torch.device
    backend: Backend
    data: DataSpec
    names: dict[int, str]
    selection: Selection | None
    classes: np.ndarray | None

    def truth(self) -> CocoTruth | None:
        """Return the COCO file that the figures go by, if there is one."""
        data = replace(self.data, names=self.selection.names) if self.selection else self.data
        return truth_for(self.cfg, data, selected=self.selection is not None)


def open_model(cfg: ValConfig, weights: str | Path | tuple[str, ...]) -> Setup:
    """Return one of the models of the options, or several as an ensemble, with the data.

    Raises: UserError where they do not fit.
    """
    device = select_device(cfg.device)
    how = {"augment": cfg.augment, "half": cfg.half, "dnn": cfg.dnn}
    backend = load_backends(weights, device, cfg.backbone, cfg.layout or "", **how)
    iou_thres = VAL_IOU[backend.layout.has_objectness] if cfg.iou_thres is None else cfg.iou_thres
    if cfg.imgsz is None and cfg.task != "study":
        fixed = backend.fixed_size
        cfg = replace(cfg, imgsz=fixed[0] if fixed else max(backend.trained.default_imgsz()))
    cfg = replace(cfg, weights=weights if isinstance(weights, tuple) else str(weights), iou_thres=iou_thres)
    data = load_data_spec(cfg.data or backend.trained.default_data(), required=(split_of(cfg),))
    check_channels(backend, data)
    selection, classes, names, _ = agreed_classes(backend.names, backend.trained, data, cfg)
    return Setup(cfg, device, backend, data, names, selection, classes)


def measure(
    setup: Setup,
    observers: Sequence[Observer] = (),
    nms: Callable[..., list[Tensor]] | None = None,
    imgsz: int | None = None,
) -> Evaluation:
    """Return the evaluation of a model; with ``imgsz`` at that size, timed once the model is warm."""
    cfg = setup.cfg if imgsz is None else replace(setup.cfg, imgsz=imgsz)
    loader = build_loader(cfg, setup.data, setup.backend, setup.selection)
    if imgsz is not None:
        images = torch.zeros(cfg.batch_size, setup.backend.channels, imgsz, imgsz, device=setup.device)
        for _ in range(WARM_UP):
            setup.backend(images)
    return evaluate(
        setup.backend,
        loader,
        names=setup.names,
        device=setup.device,
        nms=nms or build_nms(cfg, setup.backend.layout, setup.classes),
        single_cls=cfg.single_cls,
        observers=observers,
    )
