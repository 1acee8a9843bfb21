"""The flags of ``export.py``."""

from dataclasses import dataclass
from typing import ClassVar

from utils.config import Given, option
from utils.configs.shared import BACKBONE_HELP, BATCH_SIZE, DEVICE, IMGSZ, SHARE
from utils.formats import NAMES
from utils.idle_options import Idle

IN_FILE = "suppression inside the file"


@dataclass(frozen=True)
class ExportConfig(Given):
    """Every flag of ``python export.py``."""

    IDLE: ClassVar[tuple[Idle, ...]] = (
        Idle("conf_thres iou_thres max_det agnostic_nms", "without --nms", lambda cfg: not cfg.nms),
        Idle("max_drop", "without --int8", lambda cfg: not cfg.int8),
        Idle("simplify", "here: the ONNX graph is always simplified", lambda cfg: True),
    )

    weights: str = option("", help="checkpoint; without it the newest runs/train/*/weights/best.pt")
    backbone: str = option("", help=BACKBONE_HELP)
    include: tuple[str, ...] = option(("onnx",), help="formats to write; docs/export.md says more", choices=NAMES)
    imgsz: tuple[int] | tuple[int, int] | None = option(
        None, help="height width, or one number for both; without it that of the training", **IMGSZ
    )
    batch_size: int = option(1, help="images per call", **BATCH_SIZE)
    dynamic: bool = option(False, help="leave batch, height and width open")
    half: bool = option(False, help="weights in float16; images and predictions stay float32")
    int8: bool = option(
        False, help="compute in 8-bit integers, calibrated on training images of --data: ONNX and OpenVINO"
    )
    max_drop: float = option(
        0.02,
        help="with --int8: loss of mAP50-95 on the validation images of --data from which a file is not written",
        **SHARE,
    )
    opset: int | None = option(
        None,
        help="ONNX operator set, from 9 on; without it 17, or 18 where the model needs that",
        low=9,
        high=99,
    )
    workspace: float | None = option(
        None, help="for engine: GiB of GPU memory that TensorRT may use while it builds; without it 4", low=0.1
    )
    simplify: bool = option(False, help="means nothing: the ONNX graph is always simplified")
    nms: bool = option(False, help="suppress inside the file: ONNX and OpenVINO", group=IN_FILE)
    conf_thres: float = option(0.25, help="with --nms: least confidence", group=IN_FILE, **SHARE)
    iou_thres: float | None = option(
        None,
        help="with --nms: overlap from which the less confident of two boxes is dropped; without it 0.45, or 0.7 after "
        "an anchor-free head",
        group=IN_FILE,
        **SHARE,
    )
    max_det: int = option(
        100, help="with --nms: detections per image", aliases=("--topk-all",), low=1, high=10_000, group=IN_FILE
    )
    agnostic_nms: bool = option(False, help="with --nms: boxes of different classes suppress each other", group=IN_FILE)
    data: str = option("", help="data set to name in the file, and of --int8; without it that of the training")
    device: str = option("cpu", **DEVICE)
