"""Measure a trained model on labelled images: precision, recall, mAP, speed.

python val.py                                                      # newest training run, on its own data
python val.py --weights yolov5s.pt --data data/coco128.yaml        # any checkpoint or .onnx on any data
"""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from utils.command import run_command
from utils.config import make_config
from utils.configs.val import ValConfig
from utils.runs import new_run_dir, newest_weights

if TYPE_CHECKING:
    import numpy as np

    from utils.evaluation.evaluate import Evaluation

log = logging.getLogger("val")

NO_LOSSES = (0.0, 0.0, 0.0)  # in the place of the three of a training, as YOLOv5's run returns them
MAX_LISTED = 50  # classes up to which each has its row even without --verbose


def main(cfg: ValConfig) -> "Evaluation":
    # here, because PyTorch takes seconds to import and --help should not
    from utils.backends.several import load_backends
    from utils.data.scan.spec import load_data_spec
    from utils.device import select_device
    from utils.evaluation.evaluate import evaluate
    from utils.evaluation.inputs import (
        agreed_names,
        build_loader,
        build_nms,
        build_observers,
        check_channels,
        chosen_classes,
        kept_of_model,
    )

    device = select_device(cfg.device)
    how = {"augment": cfg.augment, "half": cfg.half, "dnn": cfg.dnn}
    backend = load_backends(cfg.weights or newest_weights(), device, cfg.backbone, cfg.layout or "", **how)
    data = load_data_spec(cfg.data or backend.trained.default_data(), required=(cfg.task,))
    check_channels(backend, data)
    selection = chosen_classes(cfg, backend.names, backend.trained, data)
    kept = kept_of_model(backend.names, data, selection)
    chosen = replace(data, names=selection.names) if selection else data
    names = agreed_names(chosen.names if kept is not None else backend.names, chosen, cfg.single_cls)
    loader = build_loader(cfg, data, backend, selection)
    run_dir = new_run_dir(cfg.project, cfg.name, exist_ok=cfg.exist_ok)

    evaluation = evaluate(
        backend,
        loader,
        names=names,
        device=device,
        nms=build_nms(cfg, backend.layout, kept),
        single_cls=cfg.single_cls,
        observers=build_observers(cfg, run_dir, names, chosen, selected=selection is not None),
    )

    if cfg.verbose or 1 < len(names) < MAX_LISTED:
        log.info(evaluation.class_rows())
    log.info("speed: %s per image", evaluation.speed)
    log.info("results in %s", run_dir)
    return evaluation


def run(**options: Any) -> tuple[tuple[float, ...], "np.ndarray", tuple[float, float, float]]:
    """Validate from a program, ``run(weights="best.pt", data="my.yaml")``.

    Return (precision, recall, mAP@0.5, mAP@0.5:0.95, three losses, which are 0 here), the mAP@0.5:0.95 of each class,
    and the milliseconds per image of pre-processing, inference and suppression.
    """
    evaluation = main(make_config(ValConfig, options))
    speed = evaluation.speed
    maps = evaluation.metrics.maps(len(evaluation.names))
    return (*evaluation.figures(), *NO_LOSSES), maps, (speed.preprocess, speed.inference, speed.nms)


if __name__ == "__main__":
    run_command(main, ValConfig)
