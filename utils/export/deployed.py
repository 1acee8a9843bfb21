"""A detector in the form in which it is exported."""

import copy

import torch
from torch import Tensor, nn

from utils.predictions import Layout


class Deployed(nn.Module):
    """A detector as its file computes it: images (B, ch, H, W) → predictions as one tensor of the head's layout."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    @property
    def layout(self) -> Layout:
        return self.detector.head.layout

    def forward(self, images: Tensor) -> Tensor:
        return self.detector.predict(images).output


def deployable(model: nn.Module) -> Deployed:
    """Return a copy that computes predictions alone: float32, on the CPU, in eval mode, fused."""
    detector = copy.deepcopy(model).cpu().float().to(memory_format=torch.contiguous_format).eval()
    deployed = Deployed(detector.fuse()).eval()
    for module in deployed.modules():
        if getattr(module, "fused_attn", False):  # timm's switch: the exporter has fused attention for 4-D tensors only
            module.fused_attn = False
    return deployed.requires_grad_(False)
