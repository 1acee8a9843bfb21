"""The flags of those commands that run weights on images."""

from dataclasses import dataclass

from utils.config import Given, option
from utils.configs.shared import BACKBONE_HELP, DEVICE, WEIGHTS_HELP


@dataclass(frozen=True)
class InferenceOptions(Given):
    """What ``val.py`` and ``detect.py`` have in common."""

    weights: str | tuple[str, ...] = option("", help=f"{WEIGHTS_HELP}; several are an ensemble")
    layout: str | None = option(
        None,
        help="output of an .onnx file that does not tell: BN5C, (B, N, 5 + classes) of YOLOv5, or B4CN, "
        "(B, 4 + classes, N) of YOLOv8",
        choices=("BN5C", "B4CN"),
    )
    backbone: str = option("", help=BACKBONE_HELP)
    device: str = option("", **DEVICE)
    augment: bool = option(
        False, help="look at each image in three sizes, once mirrored: slower, and finds a little more; .pt files"
    )
    half: bool = option(False, help="compute in float16, on a GPU; .pt files")
    dnn: bool = option(False, help="run an .onnx file of one size in OpenCV, on the CPU")
