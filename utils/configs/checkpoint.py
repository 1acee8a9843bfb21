"""The flags of ``python -m utils.checkpoint``."""

from dataclasses import dataclass

from utils.config import arguments, option
from utils.configs.shared import BACKBONE_HELP


@dataclass(frozen=True)
class CheckpointConfig:
    """Every option of ``python -m utils.checkpoint``."""

    words: tuple[str, ...] = arguments(help="info and files, or convert and one file")
    to: str | None = option(
        None,
        help="what convert writes: pt, a checkpoint of this repository; safetensors, the same for other programs; "
        "official, a .pt that a YOLOv5 checkout opens",
        choices=("pt", "safetensors", "official"),
    )
    half: bool = option(False, help="convert: weights in float16")
    out: str = option("", help="convert: the file to write; without it beside the other one, which stays as it is")
    backbone: str = option("", help=BACKBONE_HELP)
