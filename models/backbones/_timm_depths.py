"""How far the parameters of a timm model are from its classifier, as timm itself counts layers for layer-wise decay."""

from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import nn

INNER = "model."  # of a body that wraps the whole model


def timm_depths(name: str, options: Mapping[str, Any], body: nn.Module) -> dict[str, int]:
    """Return for each parameter of ``body``, made of timm's ``name``, how many layers the classifier is behind it.

    timm groups by names of the whole model; in a body, some of their dots are underscores. Parameters that the model
    itself does not have are left out.
    """
    with torch.device("meta"):
        whole = timm.create_model(name, **{key: value for key, value in options.items() if key != "feature_cls"})
    layers = group_parameters(whole, whole.group_matcher(coarse=False), reverse=True)
    last = max(layers.values())
    known = {_plain(key): last - layer for key, layer in layers.items()}
    names = [key for key, _ in body.named_parameters()]
    return {key: known[_plain(key)] for key in names if _plain(key) in known}


def _plain(key: str) -> str:
    return key.removeprefix(INNER).replace(".", "_")
