"""The two languages of model YAMLs, YOLOv5's and the YOLOv8-style one, told apart by their keys.

A file with ``scales`` speaks the YOLOv8-style language, and so does one without ``anchors``, unless its head names
them. Its ``Detect`` is the anchor-free head; where there are ``scales`` and ``anchors``, as ``--head anchor`` writes
them, it is YOLOv5's. Some names mean other layers in the two languages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.registry import LAYERS, YOLOV8_LAYERS, LayerEntry
from utils.errors import ConfigError

HEAD = "Detect"
NOT_BUILT = {  # names of related families and tasks, in the place of which nothing else may be taken → what they are
    **dict.fromkeys(("RepNCSPELAN4", "ELAN1", "SPPELAN", "ADown", "AConv", "CBLinear", "CBFuse"), "a layer of YOLOv9"),
    **dict.fromkeys(("SCDown", "C2fCIB"), "a layer of YOLOv10"),
    "v10Detect": "the head of YOLOv10",
    "A2C2f": "a layer of YOLO12",
    **dict.fromkeys(("AIFI", "HGStem", "HGBlock", "RepC3"), "a layer of RT-DETR"),
    "RTDETRDecoder": "the head of RT-DETR",
    **dict.fromkeys(("C2fAttn", "ImagePoolingAttn", "WorldDetect", "YOLOEDetect"), "for detection by text prompts"),
    **dict.fromkeys(("Segment", "YOLOESegment"), "a head for segmentation"),
    "Pose": "a head for pose estimation",
    "OBB": "a head for oriented boxes",
    "Classify": "a head for classification",
}


@dataclass(frozen=True)
class Dialect:
    """What the keys of a model YAML decide."""

    required: tuple[str, ...]  # keys of the top level
    example: str  # a model YAML
    is_yolov8: bool
    has_anchors: bool
    nc: Any = None  # number of classes, as written

    @property
    def head_args(self) -> str:
        return "[nc, anchors]" if self.has_anchors else "[nc]"

    def layer(self, name: str) -> LayerEntry | None:
        """Return the layer that ``name`` means, None for no layer of ours. Raises: ConfigError for another family's."""
        if name in NOT_BUILT and name not in LAYERS:  # somebody may have registered one of that name
            what = f"{name} is {NOT_BUILT[name]}, which is not built here"
            raise ConfigError(what, "take a detection model of YOLOv5, YOLOv8 or YOLO11")
        is_special = self.is_yolov8 and name in YOLOV8_LAYERS and not (self.has_anchors and name == HEAD)
        if is_special:
            return YOLOV8_LAYERS.get(name)
        return LAYERS.get(name) if name in LAYERS else None

    def check_head(self, name: str, args: list) -> None:
        """Raises: ConfigError unless the head has the arguments that the dialect gives it, for ``nc`` classes."""
        if name != HEAD:
            return
        if len(args) == 1 + self.has_anchors:
            if args[0] not in ("nc", self.nc):
                what = f"{HEAD} {args!r} is for {args[0]!r} classes, but nc is {self.nc!r}"
                raise ConfigError(what, "write nc in its place")
            return
        if self.has_anchors:
            fix = "write [nc, anchors], or remove 'anchors' for the anchor-free head"
            raise ConfigError(f"{HEAD} {args!r} in a YAML with 'anchors'", fix)
        raise ConfigError(
            f"{HEAD} {args!r} in a YAML without 'anchors'", "write [nc], or add 'anchors' for YOLOv5's head"
        )


def dialect_of(data: Mapping[str, Any]) -> Dialect:
    """Return the dialect of a model YAML, checked or not."""
    has_anchors = "anchors" in data or _names_anchors(data.get("head"))
    if "scales" in data or not has_anchors:
        required = ("nc", *(["anchors"] if has_anchors else []), "backbone", "head")
        return Dialect(required, "models/yolov8.yaml", is_yolov8=True, has_anchors=has_anchors, nc=data.get("nc"))
    required = ("nc", "depth_multiple", "width_multiple", "anchors", "backbone", "head")
    return Dialect(required, "models/yolov5s.yaml", is_yolov8=False, has_anchors=True, nc=data.get("nc"))


def _names_anchors(rows: Any) -> bool:
    """Return whether the last row passes ``anchors`` on."""
    last = rows[-1] if isinstance(rows, list) and rows else None
    args = last[3] if isinstance(last, list) and len(last) == 4 else ()
    return isinstance(args, list) and "anchors" in args
