"""Test-time augmentation: an image is looked at in three sizes, once mirrored, and all that is found is put together.

The three passes, and which level counts in which of them, are YOLOv5's.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from models.detector import DetectionModel
from utils.errors import ConfigError
from utils.predictions import Predictions

FULL, MEDIUM, SMALL = 1.0, 0.83, 0.67  # scale of the image in each pass
BORDER = 0.447  # gray beside a smaller image, in 0–1


@torch.no_grad()
def predict_augmented(model: DetectionModel, images: Tensor) -> Predictions:
    """Return what three passes find in images (B, ch, H, W) in 0–1, H and W multiples of ``size_multiple``.

    It reads like ``model.predict(images)``, boxes in pixels of these images, with about twice as many; NMS joins what
    the passes have in common. Of several levels the coarsest is left out at full size and the finest at the smallest:
    the objects that they are for are seen better in another pass. Raises: ConfigError for a model of one size.
    """
    if model.fixed_size is not None:
        height, width = model.fixed_size
        what = f"the model takes images of {width}×{height} pixels only, test-time augmentation shows it smaller ones"
        raise ConfigError(what, "leave the augmentation out")
    full = _see(model, images, FULL)
    medium = _see(model, images.flip(3), MEDIUM)
    small = _see(model, images, SMALL)
    for found in medium:
        found.boxes[..., 0].neg_().add_(images.shape[3])  # mirrored back
    if len(full) > 1:
        full, small = full[:-1], small[1:]
    axis = model.head.layout.box_axis
    return Predictions(torch.cat([found.output for found in full + medium + small], dim=axis), model.head.layout)


def shrink(images: Tensor, scale: float, multiple: int) -> Tensor:
    """Return smaller images (B, ch, h, w), with a border on the right and below up to multiples of ``multiple``."""
    if scale == 1:
        return images
    sides = [side * scale for side in images.shape[2:]]
    images = F.interpolate(images, size=[int(side) for side in sides], mode="bilinear", align_corners=False)
    below, right = (math.ceil(side / multiple) * multiple - int(side) for side in sides)
    return F.pad(images, (0, right, 0, below), value=BORDER)


def _see(model: DetectionModel, images: Tensor, scale: float) -> list[Predictions]:
    """Return what each level finds in images at a scale, fine to coarse; boxes in pixels at full size."""
    images = shrink(images, scale, model.size_multiple)
    found = model.predict(images)
    found.boxes.div_(scale)  # a view
    height, width = images.shape[2:]
    cells = [height // stride * (width // stride) for stride in model.stride.int().tolist()]
    axis = found.layout.box_axis
    boxes_per_cell = found.output.shape[axis] // sum(cells)
    parts = found.output.split([count * boxes_per_cell for count in cells], dim=axis)
    return [Predictions(part, found.layout) for part in parts]
