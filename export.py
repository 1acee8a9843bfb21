"""Export a trained model to other formats, and check that each file gives the same answers.

python export.py --weights runs/train/exp/weights/best.pt --include torchscript onnx openvino
python export.py --dynamic --imgsz 320 416                         # newest run, ONNX; any batch and image size
python export.py --nms --conf-thres 0.3                            # an ONNX file that answers with detections
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.command import run_command
from utils.config import make_config
from utils.configs.export import ExportConfig
from utils.errors import ConfigError, ExportError, UserError
from utils.formats import Format, named
from utils.runs import newest_weights

if TYPE_CHECKING:
    from utils.export.order import Order

log = logging.getLogger("export")

OF_NMS = {"conf_thres", "iou_thres", "max_det", "agnostic_nms"}


def main(cfg: ExportConfig) -> list[Path]:
    forms = [named(name) for name in dict.fromkeys(cfg.include)]
    wanted = _wanted(cfg, forms)
    failures = {form.name: ConfigError(*refusal) for form in forms if (refusal := form.refusal(wanted))}
    if len(failures) == len(forms):
        raise _all_in_one(failures)
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
        log.info("python detect.py --weights %s", written.path)
    if failures:
        raise _all_in_one(failures)
    return [written.path for written in done.values()]


def build_order(cfg: ExportConfig, weights: Path) -> "Order":
    """Return what the options ask for. Raises: CheckpointError, ConfigError."""
    from utils.backends.pt import load_trained
    from utils.device import select_device
    from utils.export.deployed import deployable
    from utils.export.graph import fitting_size
    from utils.export.order import WORKSPACE, Order
    from utils.export.suppress import Suppression
    from utils.nms import DETECT_IOU

    unused = sorted(cfg.given & OF_NMS) if not cfg.nms else []
    if unused:
        log.warning("--%s means nothing without --nms", unused[0].replace("_", "-"))
    if cfg.simplify:
        log.info("--simplify means nothing: the ONNX graph is always simplified")
    device = select_device(cfg.device)
    model, trained = load_trained(weights, cfg.backbone)
    height, width = (*(sizes := cfg.imgsz or trained.default_imgsz()), *sizes)[:2]
    iou = DETECT_IOU[model.head.layout.has_objectness] if cfg.iou_thres is None else cfg.iou_thres
    return Order(
        deployable(model),
        (cfg.batch_size, model.yaml["ch"], *fitting_size((height, width), model.size_multiple)),
        name=weights.stem,
        dynamic=cfg.dynamic,
        half=cfg.half,
        opset=cfg.opset,
        data=cfg.data or trained.data,
        nms=Suppression(cfg.conf_thres, iou, cfg.agnostic_nms, cfg.max_det) if cfg.nms else None,
        workspace=cfg.workspace or WORKSPACE,
        device=device,
    )


def _wanted(cfg: ExportConfig, forms: Sequence[Format]) -> list[str]:
    """Return the options that a format has to take; some are no error beside one format that takes them."""
    needed = [name for name in ("dynamic", "half", "nms") if getattr(cfg, name)]
    given = [name for name in ("opset", "workspace") if getattr(cfg, name)]
    return needed + [name for name in given if not any(name in form.options for form in forms)]


def _summary(form: Format, written: Any, failure: UserError | None) -> str:
    if failure:
        return f"{form.name:>12}  {failure.what}; {failure.fix}"
    doubt = "" if written.comparisons else ", not compared"
    return f"{form.name:>12}  {written.megabytes:8.1f} MB  {written.path}{doubt}"


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
