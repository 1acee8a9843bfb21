"""Layer-wise decay of the learning rate: the earlier a layer of the backbone, the slower it learns.

Paper: BEiT, https://arxiv.org/abs/2106.08254
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from models.detector import DetectionModel

log = logging.getLogger(__name__)

LISTS = ("stages", "features", "layers")  # what an nn.Sequential of such parts is called


def layer_factors(model: DetectionModel, decay: float) -> dict[int, float]:
    """Return, by the id of each parameter of the backbone, ``decay`` to the power of the layers up to the neck.

    A layer is what timm takes for one in its models; in other backbones a stage, and in a model of layer rows a row.
    """
    steps = _timm_steps(model) or _steps(model)
    return {key: decay**count for key, count in steps.items()}


def log_rates(groups: Sequence[Mapping[str, Any]]) -> None:
    """Say the learning rates of parameter groups, of which the first is that of the neck and the head."""
    rates = sorted({group["lr"] for group in groups[1:] if group["params"]} - {groups[0]["lr"]})
    if rates:
        log.info("learning rates: %.3g, in the backbone %.3g to %.3g by layer", groups[0]["lr"], rates[0], rates[-1])


def _timm_steps(model: DetectionModel) -> dict[int, int]:
    """Return the layers from each parameter up to the neck by timm's count; nothing for other backbones."""
    depths = getattr(model.backbone, "depths", None)
    if depths is None:
        return {}
    body = model.backbone.body
    return {id(body.get_parameter(name)): count for name, count in depths(body).items()}


def _steps(model: DetectionModel) -> dict[int, int]:
    modules = [model.model[row] for row in model.backbone_rows] if model.backbone is None else _stages(model.backbone)
    layers = [list(layer.parameters()) for layer in modules]
    layers = [parameters for parameters in layers if parameters]
    steps = {id(p): len(layers) - index for index, layer in enumerate(layers) for p in layer}
    norms = () if model.backbone is None else model.backbone.parameters()
    return {id(p): 1 for p in norms} | steps


def _stages(backbone: nn.Module) -> Iterator[nn.Module]:
    """Yield the parts of a backbone in their order, each block of a list by itself, but for norms of its maps."""
    body = getattr(backbone, "body", backbone)
    for name, child in body.named_children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict) or name in LISTS:
            yield from child.children()
        elif not name.startswith("norm"):
            yield child
