"""The anchor-free head of YOLOv8: a branch for boxes and one for classes per level, and the decoding of their maps.

Papers: FCOS: Fully Convolutional One-Stage Object Detection, https://arxiv.org/abs/1904.01355 (distances from a point)
        Generalized Focal Loss, https://arxiv.org/abs/2006.04388 (each distance as a distribution over bins)
        YOLOX: Exceeding YOLO Series in 2021, https://arxiv.org/abs/2107.08430 (decoupled branches)
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.layers.conv import Conv, DWConv
from models.registry import YOLOV8_LAYERS, register_layer
from utils.cells import cell_positions
from utils.errors import ConfigError
from utils.predictions import B4CN

REFERENCE_SIZE = 640  # px; the prior of the classes assumes five objects per level in an image of this size
BOX_PRIOR = 2.0  # of the logit of every bin: equal numbers cancel in the softmax
SIDES = 4  # left, top, right, bottom


class DFL(nn.Module):
    """The mean of the distribution over bins 0 … R − 1 that R logits stand for; (B, 4·R, N) → (B, 4, N)."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(bins, 1, 1, bias=False).requires_grad_(False)  # official files have the bins as weight
        self.conv.weight.copy_(torch.arange(bins).view(1, bins, 1, 1))

    def forward(self, logits: Tensor) -> Tensor:
        bins = self.conv.weight.to(logits.dtype).flatten()
        probabilities = logits.view(logits.shape[0], SIDES, bins.numel(), -1).softmax(dim=2)  # (B, 4, R, N)
        return (probabilities * bins.view(-1, 1)).sum(dim=2)  # a convolution would be rounded under autocast


@register_layer("anchor_free_head", name="Detect", table=YOLOV8_LAYERS)
class AnchorFreeDetect(nn.Module):
    """Maps (B, 4·R + nc, H/s, W/s) of each level, box logits first, which ``decode`` turns into predictions.

    Channel side·R + bin of a map is the logit of a distance, in cells, from the centre of a cell to one side of its
    box; R is ``reg_max``. ``depthwise``: the class branch has depthwise and 1×1 Convs (YOLO11) instead of 3×3 (YOLOv8).
    """

    layout = B4CN

    def __init__(
        self,
        nc: int,
        in_channels: Sequence[int],
        reg_max: int = 16,
        depthwise: bool = False,
        class_width: int | None = None,
    ) -> None:
        """``class_width`` is that of the class branch; it follows the first level and ``nc`` where None."""
        super().__init__()
        if nc < 1:
            raise ConfigError(f"nc {nc}: the head needs a class", "give the number of classes, 1 or more")
        if reg_max < 2:
            raise ConfigError(f"reg_max {reg_max}: a distance needs two bins or more", "give 16, or leave reg_max out")
        self.nc = nc
        self.reg_max = reg_max
        self.nl = len(in_channels)
        box_width = max(16, in_channels[0] // 4, SIDES * reg_max)  # both follow the first level
        self.class_width = class_width or max(in_channels[0], min(nc, 100))
        class_branch = _depthwise_branch if depthwise else _branch
        self.cv2 = nn.ModuleList(_branch(channels, box_width, SIDES * reg_max) for channels in in_channels)
        self.cv3 = nn.ModuleList(class_branch(channels, self.class_width, nc) for channels in in_channels)
        self.dfl = DFL(reg_max)
        self.register_buffer("stride", torch.zeros(self.nl), persistent=False)

    @torch.no_grad()
    def attach(self, strides: Sequence[int]) -> None:
        """Take the stride of each level: sets ``stride`` and the biases to their priors, in place."""
        self.stride.copy_(torch.tensor(strides))
        for boxes, classes, stride in zip(self.cv2, self.cv3, strides, strict=True):
            boxes[-1].bias.fill_(BOX_PRIOR)
            classes[-1].bias.fill_(math.log(5 / self.nc / (REFERENCE_SIZE / stride) ** 2))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        levels = zip(self.cv2, self.cv3, features, strict=True)
        return [torch.cat((boxes(x), classes(x)), dim=1) for boxes, classes, x in levels]

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """Return (B, 4 + nc, N): cxcywh in input pixels, then probabilities; columns by level, y, x.

        At least float32: in half precision a large coordinate would be off by pixels.
        """
        columns = []
        for x, stride in zip(maps, self.stride.unbind(), strict=True):
            y = x.to(torch.promote_types(x.dtype, torch.float32)).flatten(2)  # (B, 4·R + nc, H·W)
            logits, scores = y.split((SIDES * self.reg_max, self.nc), dim=1)
            before, after = self.dfl(logits).split(2, dim=1)  # left and top, right and bottom, in cells
            centre = (cell_centres(x).to(y.dtype) + (after - before) / 2) * stride
            columns.append(torch.cat((centre, (before + after) * stride, scores.sigmoid()), dim=1))
        return torch.cat(columns, dim=2)

    @torch.no_grad()
    def take_classes(self, state: Mapping[str, Tensor], nc: int, pairs: Sequence[tuple[int, int]]) -> bool:
        """Copy the classes ``pairs`` (theirs, ours) from the ``state`` of a head for ``nc``; a box knows no class."""
        theirs, ours = torch.tensor(pairs, dtype=torch.long).view(-1, 2).T
        own = {f"cv3.{key}": value for key, value in self.cv3.state_dict().items() if key.split(".")[1] == "2"}
        if any(key not in state or state[key].shape != (nc, *own[key].shape[1:]) for key in own):
            return False
        for key, value in own.items():
            value[ours] = state[key].to(value)[theirs]
        return True

    def wanted_options(self, state: Mapping[str, Tensor]) -> dict[str, int]:
        """Return the key of a model YAML with which more of the ``state`` of such a head would fit.

        For another number of classes the class branch may have another width, so that nothing of it fits; a head that
        reads the same maps can have the width of the other one.
        """
        weight = state.get("cv3.0.2.weight")
        maps = {f"cv2.{level}.0.conv.weight": branch[0].conv.weight.shape for level, branch in enumerate(self.cv2)}
        reads_same = all(key in state and state[key].shape == shape for key, shape in maps.items())
        if weight is None or not reads_same or weight.shape[1] == self.class_width:
            return {}
        return {"class_width": weight.shape[1]}


def cell_centres(x: Tensor) -> Tensor:
    """Return (2, H·W), float32: x and y, in cells, of the centres of the cells of a map (B, C, H, W), row by row."""
    _, _, height, width = x.shape
    return torch.stack(cell_positions(height, width, 0.5, x.device)).flatten(1)


def _branch(in_channels: int, width: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        Conv(in_channels, width, 3),
        Conv(width, width, 3),
        nn.Conv2d(width, out_channels, 1),
    )


def _depthwise_branch(in_channels: int, width: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(DWConv(in_channels, in_channels, 3), Conv(in_channels, width, 1)),
        nn.Sequential(DWConv(width, width, 3), Conv(width, width, 1)),
        nn.Conv2d(width, out_channels, 1),
    )
