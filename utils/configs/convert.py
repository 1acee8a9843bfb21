"""The flags of ``python -m utils.dataset.convert``."""

from dataclasses import dataclass

from utils.config import option


@dataclass(frozen=True)
class ConvertConfig:
    """Every flag of ``python -m utils.dataset.convert``."""

    data: str = option("", help="data-set YAML, or the folder that holds it")
    to: str = option("yolo", help="format of the labels to write", choices=("yolo", "coco", "voc"))
    out: str = option("", help="folder of the new data set; it must be new or empty")
    images: str = option(
        "link",
        help="link or copy the images into the new folder; none leaves them where they are, which YOLO's and VOC's "
        "labels have no way to say",
        choices=("link", "copy", "none"),
    )
