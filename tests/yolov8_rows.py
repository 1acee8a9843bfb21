"""Models of the YOLOv8 family assembled from layers by a plain loop, for tests of the layers and the head alone.

A row is ``module×number@from arguments``; ``@`` and a list of rows joins the row before with those, or, at the head,
names its levels.
"""

import ast
import math
import re
from dataclasses import dataclass

from torch import Tensor, nn

import models.heads
import models.layers  # noqa: F401 - importing both packages fills the tables
from models.registry import LAYERS, YOLOV8_LAYERS

TOP = "Conv 64 3 2; Conv 128 3 2; C2f×3 128 True; Conv 256 3 2; C2f×6 256 True; Conv 512 3 2; C2f×6 512 True; "
V8 = TOP + "Conv 1024 3 2; C2f×3 1024 True; SPPF 1024 5; Up; Concat@6; C2f×3 512; Up; Concat@4; C2f×3 256; "
LAYOUTS = {
    "yolov8": V8 + "Conv 256 3 2; Concat@12; C2f×3 512; Conv 512 3 2; Concat@9; C2f×3 1024; Detect@15,18,21",
    "yolov8-p2": V8 + "Up; Concat@2; C2f×3 128; Conv 128 3 2; Concat@15; C2f×3 256; Conv 256 3 2; Concat@12; "
    "C2f×3 512; Conv 512 3 2; Concat@9; C2f×3 1024; Detect@18,21,24,27",
    "yolov8-p6": TOP + "Conv 768 3 2; C2f×3 768 True; Conv 1024 3 2; C2f×3 1024 True; SPPF 1024 5; Up; Concat@8; "
    "C2×3 768 False; Up; Concat@6; C2×3 512 False; Up; Concat@4; C2×3 256 False; Conv 256 3 2; Concat@17; "
    "C2×3 512 False; Conv 512 3 2; Concat@14; C2×3 768 False; Conv 768 3 2; Concat@11; C2×3 1024 False; "
    "Detect@20,23,26,29",
    "yolo11": "Conv 64 3 2; Conv 128 3 2; C3k2×2 256 False 0.25; Conv 256 3 2; C3k2×2 512 False 0.25; Conv 512 3 2; "
    "C3k2×2 512 True; Conv 1024 3 2; C3k2×2 1024 True; SPPF 1024 5; C2PSA×2 1024; Up; Concat@6; C3k2×2 512 False; "
    "Up; Concat@4; C3k2×2 256 False; Conv 256 3 2; Concat@13; C3k2×2 512 False; Conv 512 3 2; Concat@10; "
    "C3k2×2 1024 True; Detect@16,19,22",
    "tiny": "Conv 64 3 2; Conv 128 3 2; C2f×3 128 True; Conv 256 3 2; C2f×3 256 True; Conv 512 3 2; SPPF 512 5; Up; "
    "Concat@4; C2f×3 256; Conv 256 3 2; Concat@6; C2f×3 512; Detect@9,12",
}
LAYOUTS["yolov8-ghost"] = "Conv 64 3 2; " + re.sub(
    "Conv|C2f",
    lambda found: {"Conv": "GhostConv", "C2f": "C3Ghost"}[found[0]],
    LAYOUTS["yolov8"][len("Conv 64 3 2; ") :],
)
V8_SCALES = {
    "n": (0.33, 0.25, 1024),
    "s": (0.33, 0.5, 1024),
    "m": (0.67, 0.75, 768),
    "l": (1, 1, 512),
    "x": (1, 1.25, 512),
}
SCALES = {  # layout → letter → depth, width, largest number of channels
    "yolo11": {
        "n": (0.5, 0.25, 1024),
        "s": (0.5, 0.5, 1024),
        "m": (0.5, 1, 512),
        "l": (1, 1, 512),
        "x": (1, 1.5, 512),
    },
    "tiny": {"n": (0.33, 0.0625, 128)},
}
STRIDES = {"yolov8-p2": (4, 8, 16, 32), "yolov8-p6": (8, 16, 32, 64), "tiny": (8, 16)}


@dataclass(frozen=True)
class Scale:
    letter: str
    depth: float
    width: float
    most: int

    def channels(self, wanted: int) -> int:
        return math.ceil(min(wanted, self.most) * self.width / 8) * 8

    def repeats(self, number: int) -> int:
        return max(round(number * self.depth), 1) if number > 1 else number


class RowModel(nn.Module):
    """Images → (predictions, maps); keys of the state dict as in official files."""

    def __init__(self, layout: str, letter: str, nc: int = 80) -> None:
        super().__init__()
        scale = Scale(letter, *SCALES.get(layout, V8_SCALES)[letter])
        rows = [row.strip() for row in LAYOUTS[layout].split(";")]
        self.joined: list[list[int]] = []
        channels: list[int] = []
        modules = []
        for row in rows:
            name, number, joined, args = re.fullmatch(r"([\w.]+)(?:×(\d+))?(?:@([\d,]+))?(.*)", row).groups()
            self.joined.append([int(index) for index in joined.split(",")] if joined else [])
            inputs = [channels[index] for index in self.joined[-1]]
            if name == "Detect":
                modules.append(YOLOV8_LAYERS.get(name).cls(nc, inputs, depthwise=layout == "yolo11"))
                break
            values = [ast.literal_eval(text) for text in args.split()]
            module, out = _layer(name, int(number or 1), values, channels[-1] if channels else 3, sum(inputs), scale)
            modules.append(module)
            channels.append(out)
        self.model = nn.Sequential(*modules)
        self.model[-1].attach(STRIDES.get(layout, (8, 16, 32)))
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eps = 1e-3

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        outputs: list[Tensor] = []
        for module, joined in zip(self.model[:-1], self.joined, strict=False):
            x = module([x, *(outputs[index] for index in joined)] if joined else x)
            outputs.append(x)
        head = self.model[-1]
        maps = head([outputs[index] for index in self.joined[-1]])
        return head.decode(maps), maps


def _layer(name: str, number: int, args: list, before: int, joined: int, scale: Scale) -> tuple[nn.Module, int]:
    """Return a module and its output channels."""
    if name == "Up":
        return nn.Upsample(None, 2, "nearest"), before
    entry = LAYERS.get(name)
    if entry.wiring == "concat":
        return entry.cls(1), before + joined
    out, repeats, rest = scale.channels(args[0]), scale.repeats(number), args[1:]
    if name == "C3k2" and scale.letter in "mlx":
        rest[0] = True
    inside = [repeats] if entry.wiring == "csp" else []
    return entry.cls(before, out, *inside, *rest), out
