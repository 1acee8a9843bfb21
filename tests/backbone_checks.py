"""What the tests of the single backbones share: official weights, random norms, errors of maps."""

from pathlib import Path

import torch
from golden_backbones import read_manifest, seeded_state
from torch import Tensor, nn

from models.detector import DetectionModel
from models.registry import BACKBONES
from utils.yaml_file import read_yaml

MODELS = Path(__file__).resolve().parents[1] / "models"


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def detector_on_meta(file: str, backbone: str | None = None) -> DetectionModel:
    """Return the model of a YAML file without memory, on ``backbone`` instead of its own if given."""
    data = read_yaml(MODELS / file)
    if backbone:
        data["backbone"][0][2] = backbone
    with torch.device("meta"):
        return DetectionModel(data)


def with_official_weights(family: str, variant: str, **options) -> nn.Module:
    """Return the variant in eval mode with the seeded official weights; only the classifier may be left over."""
    manifest = read_manifest(f"{family}-{variant}")
    entry = BACKBONES.get(variant)
    module = entry(**options).eval()
    state = {key: value for key, value in seeded_state(manifest).items() if not key.startswith(entry.head_prefixes)}
    module.load_state_dict(entry.convert(state, module) if entry.convert else state)
    return module


@torch.no_grad()
def randomise_norms(module: nn.Module, image: Tensor) -> nn.Module:
    """Give every batch norm random weights and the statistics of ``image``; return the module in eval mode."""
    torch.manual_seed(0)
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_(0, 0.2)
        norm.momentum = 1.0
    module.train()(image)
    return module.eval()


@torch.no_grad()
def largest_error(module: nn.Module, other: nn.Module, image: Tensor) -> float:
    """Return the largest deviation between the maps of two backbones, in units of a map's rms."""
    pairs = zip(module(image), other(image), strict=True)
    return max(float((a - b).abs().max() / b.square().mean().sqrt()) for a, b in pairs)
