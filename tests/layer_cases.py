"""Layers of model YAMLs with what is known of each, and a way to build them with weights from a formula."""

from golden_models import fill_sine
from torch import nn

from models import common

V5_CASES = [  # layer, arguments, input channels → parameters, output (C, H, W), sum, sum of squares, state-dict keys
    ("Conv", (8, 16, 3, 2), 1184, (16, 4, 4), 38.197478, 56.305969, 6),
    ("Conv", (8, 16, 3, 1, None, 1, 2), 1184, (16, 8, 8), 149.77565, 187.59488, 6),
    ("DWConv", (8, 16, 3, 1), 176, (16, 8, 8), 342.83792, 522.28597, 6),
    ("DWConvTranspose2d", (8, 16, 4, 2, 1, 0), 272, (16, 16, 16), 37.074288, 1080.9653, 2),
    ("TransformerBlock", (8, 16, 4, 2), 5168, (16, 8, 8), -40392.619, 1.9130993e8, 26),
    ("Bottleneck", (16, 16), 1328, (16, 8, 8), 583.95843, 600.07342, 12),
    ("BottleneckCSP", (8, 16, 2), 1872, (16, 8, 8), 405.73024, 755.40651, 43),
    ("CrossConv", (16, 16, 3, 1, 1, 1.0, True), 1600, (16, 8, 8), 617.26122, 633.64573, 12),
    ("C3", (8, 16, 2), 1792, (16, 8, 8), 803.9427, 2029.3748, 42),
    ("C3x", (8, 16, 2), 1280, (16, 8, 8), 739.88286, 1632.7579, 42),
    ("C3TR", (8, 16, 2), 1736, (16, 8, 8), 217831.59, 1.29977e8, 38),
    ("C3SPP", (8, 16, (3, 5)), 600, (16, 8, 8), 399.068, 666.85184, 30),
    ("C3Ghost", (8, 16, 2), 860, (16, 8, 8), 621.50254, 1198.3095, 66),
    ("SPP", (16, 16, (5, 9, 13)), 688, (16, 8, 8), 106.76661, 137.54063, 12),
    ("SPPF", (16, 16, 5), 688, (16, 8, 8), 106.76661, 137.54063, 12),
    ("Focus", (8, 16, 3), 4640, (16, 4, 4), 95.889267, 131.37836, 6),
    ("GhostConv", (8, 16, 3, 2), 808, (16, 4, 4), 65.274677, 130.72649, 12),
    ("GhostBottleneck", (8, 16, 3, 2), 780, (16, 4, 4), -80.855547, 672.52769, 42),
    ("GhostBottleneck", (16, 16), 476, (16, 8, 8), 382.82584, 878.79916, 24),
    ("MixConv2d", (8, 16, (1, 3), 1, True), 112, (16, 8, 8), 324.07399, 567.73577, 7),
    ("MixConv2d", (8, 16, (1, 3), 1, False), 160, (16, 8, 8), 512.46653, 841.76847, 7),
]
V8_CASES = [  # class, arguments → parameters, output (C, H, W) of a map of 8×8, state-dict keys
    ("KernelBottleneck", (16, 16), 2352, (16, 8, 8), 12),
    ("KernelBottleneck", (16, 16, True, 2, (1, 3), 1.0), 1472, (16, 8, 8), 12),
    ("KernelBottleneckCSP", (8, 16, 2), 2896, (16, 8, 8), 43),
    ("C2f", (8, 16, 2), 3072, (16, 8, 8), 36),
    ("C2f", (32, 32, 1, True), 7360, (32, 8, 8), 24),  # yolov8n, row 2
    ("C2", (8, 16, 2), 2816, (16, 8, 8), 36),
    ("C1", (8, 16, 2), 4832, (16, 8, 8), 18),
    ("C3k", (8, 16, 2), 2816, (16, 8, 8), 42),
    ("C3k2", (8, 16, 2), 1904, (16, 8, 8), 36),
    ("C3k2", (8, 16, 1, True), 1344, (16, 8, 8), 54),
    ("C3k2", (8, 16, 1, True, 0.5, True), 1808, (16, 8, 8), 54),  # attention goes before c3k
    ("C3k2", (32, 64, 1, False, 0.25), 6640, (64, 8, 8), 24),  # yolo11n, row 2
    ("Attention", (16, 2), 1040, (16, 8, 8), 18),
    ("PSABlock", (16, 0.5, 2), 2160, (16, 8, 8), 30),
    ("PSA", (16, 16), 1208, (16, 8, 8), 42),
    ("C2PSA", (16, 16, 2), 1840, (16, 8, 8), 72),
    ("C2PSA", (256, 256, 1), 249728, (256, 8, 8), 42),  # yolo11n, row 10
    ("C2fPSA", (8, 16, 1), 1208, (16, 8, 8), 42),
    ("ConvTranspose", (8, 16), 544, (16, 16, 16), 6),
    ("ConvTranspose", (8, 16, 2, 2, 0, False), 528, (16, 16, 16), 2),
    ("SPPF", (16, 16, 5, 2, True), 560, (16, 8, 8), 12),
]


def yolov5_layer(name: str, args: tuple) -> nn.Module:
    """Return a float64 layer in eval mode, as the reference computed its sums."""
    return _layer(name, args, gain=2.5, eps=1e-3)


def yolov8_layer(name: str, args: tuple) -> nn.Module:
    """Return a float64 layer in eval mode."""
    return _layer(name, args, gain=1.5)


def _layer(name: str, args: tuple, gain: float, eps: float | None = None) -> nn.Module:
    layer = getattr(common, name)(*args).double().eval()
    for norm in layer.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = eps or norm.eps
    fill_sine(layer, gain)
    return layer
