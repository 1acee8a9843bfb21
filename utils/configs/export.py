"""The flags of ``export.py``."""

from dataclasses import dataclass

from utils.config import option
from utils.configs.shared import BACKBONE_HELP, BATCH_SIZE, IMGSZ


@dataclass(frozen=True)
class ExportConfig:
    """Every flag of ``python export.py``."""

    weights: str = option("", help="checkpoint; without it the newest runs/train/*/weights/best.pt")
    backbone: str = option("", help=BACKBONE_HELP)
    include: tuple[str, ...] = option(("onnx",), help="formats to write", choices=("onnx",))
    imgsz: tuple[int] | tuple[int, int] | None = option(
        None, help="height width, or one number for both; without it that of the training", **IMGSZ
    )
    batch_size: int = option(1, help="images per call", **BATCH_SIZE)
    dynamic: bool = option(False, help="leave batch, height and width open")
    opset: int | None = option(
        None,
        help="ONNX operator set, from 9 on; without it 17, or 18 where the model needs that",
        low=9,
        high=99,
    )
