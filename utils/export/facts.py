"""What an exported file says of itself; ``utils.checkpoint.export_facts`` reads it."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from utils.data.letterbox import BORDER
from utils.export.compare import Comparison
from utils.export.int8 import MapDrop
from utils.export.order import Order
from utils.predictions import B4CN, Layout
from utils.text import counted

LICENSE = "Apache-2.0 for the code that wrote this file; the weights are under the terms of whoever trained them"
OUTPUTS = {
    "BN5C": "(B, N, 5 + classes): centre x, centre y, width, height in pixels, objectness, class scores",
    "B4CN": "(B, 4 + classes, N): centre x, centre y, width, height in pixels, class scores",
    "BN6": "(B, N, 6): x1, y1, x2, y2 in pixels, confidence, class; best first, filled up with zeros",
}


def facts_of(
    order: Order, layout: Layout, comparisons: Sequence[Comparison] = (), drop: MapDrop | None = None
) -> dict[str, Any]:
    """Return what a reader of the file needs to know: plain data by name."""
    detector, batch, channels = order.model.detector, *order.shape[:2]
    stride = detector.size_multiple
    facts = {
        "stride": stride,
        "names": dict(detector.names),
        "layout": layout.name,
        "imgsz": list(order.shape[2:]),
        "channels": channels,
        "bits": detector.yaml.get("bits", 8),
        "input": expected_input(detector),
        "output": OUTPUTS[layout.name],
        "letterbox": f"keep proportions, centre, fill up with {BORDER} of 255; sides multiples of {stride}",
        "license": LICENSE,
        "verification": [comparison.facts() for comparison in comparisons],
    }
    if detector.head.layout == B4CN:  # what readers of YOLOv8's files look for
        facts |= {"task": "detect", "batch": batch}
    if order.int8:
        images = order.int8.images
        facts["int8"] = {"calibration": {"images": images.count, "data": images.data}}
    if drop:
        facts["int8"]["mAP50-95"] = drop.facts()
    if layout.is_suppressed:
        facts["nms"] = order.nms.facts()
    return facts | ({"data": order.data} if order.data else {})


def expected_input(model: nn.Module) -> str:
    """Say what images the file takes, and that it normalises them by itself where it does."""
    normalize, channels = model.yaml.get("normalize"), model.yaml["ch"]
    images = f"{'RGB' if channels == 3 else counted(channels, 'channel')}, 0 to 1"
    return (
        f"{images}; normalized inside, by mean {normalize['mean']} and std {normalize['std']}" if normalize else images
    )
