"""The flags of ``python -m utils.doctor``."""

from dataclasses import dataclass

from utils.config import option
from utils.configs.shared import BACKBONE_HELP, DEVICE, IMGSZ


@dataclass(frozen=True)
class DoctorConfig:
    """Every flag of ``python -m utils.doctor``."""

    data: str = option("data/shapes.yaml", help="data-set YAML, or the folder that holds it")
    imgsz: int = option(640, help="longer side of the images that will be trained on, in pixels", **IMGSZ)
    model: str = option(
        "", help="weights of a trained model, .pt or .onnx, whose detections are compared with the labels"
    )
    backbone: str = option("", help=BACKBONE_HELP)
    device: str = option("", help=f"what runs the model: {DEVICE['help']}")
    out: str = option("", help="folder of the page; without it runs/doctor/exp, exp2, …")
