"""Export a trained model to other formats, and check that each file gives the same answers.

python export.py --weights runs/train/exp/weights/best.pt --include torchscript onnx openvino
python export.py --dynamic --imgsz 320 416                         # newest run, ONNX; any batch and image size
python export.py --nms --conf-thres 0.3                            # an ONNX file that answers with detections
python export.py --int8 --data pets.yaml                           # best_int8.onnx, and what it costs in mAP
"""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.command import run_command
from utils.config import make_config
from utils.configs.export import ExportConfig
from utils.errors import ConfigError, ExportError, UserError
from utils.formats import Format, named
from utils.runs import newest_weights
from utils.text import safe_text

if TYPE_CHECKING:
    from models.detector import DetectionModel
    from utils.checkpoint.facts import TrainingFacts
    from utils.export.int8 import Int8
    from utils.export.order import Order

log = logging.getLogger("export")


def main(cfg: ExportConfig) -> list[Path]:
    forms = [named(name) for name in dict.fromkeys(cfg.include)]
    failures = refused(forms, cfg)
    # here, because PyTorch takes seconds to import and --help should not
    from utils.backends.choose import load_backend
    from utils.export.write import write_format

    weights = Path(cfg.weights or newest_weights())
    order = build_order(cfg, weights)
    done = {}
    for form in forms:
        if form.name in failures:
            continue
        try:
            done[form.name] = write_format(form, order, weights.parent, lambda path: load_backend(path, order.device))
        except UserError as error:
            failures[form.name] = error
            continue
        log.info("\n".join(done[form.name].lines()))
    if len(forms) > 1:
        for form in forms:
            log.info(_summary(form, done.get(form.name), failures.get(form.name)))
    for written in (written for written in done.values() if written.comparisons):  # the others do not run here
        log.info("python detect.py --weights %s", shlex.quote(str(written.path)))
    if failures:
        raise _all_in_one(failures)
    return [written.path for written in done.values()]


def refused(forms: Sequence[Format], cfg: ExportConfig) -> dict[str, UserError]:
    """Return by name why formats are not written with the options. Raises: UserError where none is."""
    if cfg.int8 and cfg.half:
        raise ConfigError("--half and --int8: the numbers of a file are of one kind", "leave one of them out")
    wanted = [name for name in ("dynamic", "half", "int8", "nms") if getattr(cfg, name)]
    for name in ("opset", "workspace"):  # no error beside one format that takes it
        if getattr(cfg, name) and not any(name in form.options for form in forms):
            wanted.append(name)
    failures = {form.name: ConfigError(*refusal) for form in forms if (refusal := form.refusal(wanted))}
    if len(failures) == len(forms):
        raise _all_in_one(failures)
    return failures


def build_order(cfg: ExportConfig, weights: Path) -> "Order":
    """Return what the options ask for. Raises: CheckpointError, ConfigError."""
    from utils.backends.pt import load_trained
    from utils.data.scan.spec import load_data_spec
    from utils.device import select_device
    from utils.evaluation.inputs import agreed_classes
    from utils.export.deployed import deployable
    from utils.export.graph import fitting_size
    from utils.export.order import WORKSPACE, Order
    from utils.export.suppress import Suppression
    from utils.nms import DETECT_IOU

    device = select_device(cfg.device)
    model, trained = load_trained(weights, cfg.backbone)
    if cfg.data and not cfg.int8:  # val.py will go by what the file names; --int8 looks through it in any case
        agreed_classes(model.names, trained, load_data_spec(cfg.data, required=()))
    height, width = (*(sizes := cfg.imgsz or trained.default_imgsz()), *sizes)[:2]
    iou = DETECT_IOU[model.head.layout.has_objectness] if cfg.iou_thres is None else cfg.iou_thres
    shape = (cfg.batch_size, model.yaml["ch"], *fitting_size((height, width), model.size_multiple))
    return Order(
        deployable(model),
        shape,
        name=f"{weights.stem}_int8" if cfg.int8 else weights.stem,
        dynamic=cfg.dynamic,
        half=cfg.half,
        int8=build_int8(cfg, model, trained, shape) if cfg.int8 else None,
        opset=cfg.opset,
        data=cfg.data or trained.data,
        nms=Suppression(cfg.conf_thres, iou, cfg.agnostic_nms, cfg.max_det) if cfg.nms else None,
        workspace=cfg.workspace or WORKSPACE,
        device=device,
    )


def build_int8(
    cfg: ExportConfig, model: "DetectionModel", trained: "TrainingFacts", shape: tuple[int, int, int, int]
) -> "Int8":
    """Return how the model becomes one of integers, once the data set has been looked through.

    The model is fused, in place. Raises: ConfigError, DataError.
    """
    import torch

    from utils.backends.pt import PyTorchBackend
    from utils.data.scan.spec import load_data_spec
    from utils.evaluation.drop import DropMeter
    from utils.export.calibrate import calibration_images
    from utils.export.int8 import Int8

    data = load_data_spec(cfg.data or trained.default_data())
    measure = DropMeter(PyTorchBackend(model, trained, torch.device("cpu")), data, shape[2:])
    return Int8(calibration_images(data, shape), cfg.max_drop, measure)


def _summary(form: Format, written: Any, failure: UserError | None) -> str:
    if failure:
        return f"{form.name:>12}  {safe_text(failure.what)}; {safe_text(failure.fix)}"
    doubt = "" if written.comparisons else ", not compared"
    return f"{form.name:>12}  {written.megabytes:8.1f} MB  {safe_text(written.path)}{doubt}"


def _all_in_one(failures: dict[str, UserError]) -> UserError:
    """Return one error for all formats that were not written."""
    if len(failures) == 1:
        return next(iter(failures.values()))
    each = "; ".join(f"{failure.what} ({failure.fix})" for failure in failures.values())
    return ExportError(f"{len(failures)} formats are not written: {each}", "leave them out of --include")


def run(**options: Any) -> list[Path]:
    """Export from a program, ``run(weights="best.pt", dynamic=True)``; return the files."""
    return main(make_config(ExportConfig, options))


if __name__ == "__main__":
    run_command(main, ExportConfig)
