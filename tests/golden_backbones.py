"""Golden figures of the official backbones: weights and inputs follow from formulas, expected features are stored.

``tests/golden/backbones/FAMILY-VARIANT.json`` lists every key of an official classification checkpoint; ``facts.json``
holds, per level convention (``taps``), the channels, parameter counts and statistics of the features.
"""

import json
import math
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent / "golden" / "backbones"
SEED = "20240607"


def read_manifest(name: str) -> dict:
    """Return ``keys`` (key → shape), ``calib``, ``heads`` and ``layout`` of, for example, ``emo-EMO_1M``."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


@cache
def read_facts(family: str, variant: str) -> dict:
    """Return the stored facts of a variant, for example ``("emo", "EMO_1M")``."""
    return json.loads((FOLDER / "facts.json").read_text(encoding="utf-8"))[family][variant]


def seeded_state(manifest: dict) -> dict[str, Tensor]:
    """Return the seeded state dict, heads included, in the order of the manifest."""
    return {key: seeded_tensor(key, tuple(shape), manifest["calib"]) for key, shape in manifest["keys"].items()}


def seeded_tensor(key: str, shape: tuple[int, ...], calib: Mapping[str, tuple[float, float]]) -> Tensor:
    """Return the seeded value of one state-dict entry; ``calib`` gives each batch norm its (mean, variance) scale."""
    layer, _, leaf = key.rpartition(".")
    if leaf == "num_batches_tracked":
        return torch.tensor(7)
    stream = _stream("weight", key)
    if leaf == "running_mean":
        values = calib[layer][0] * stream.standard_normal(shape)
    elif leaf == "running_var":
        values = calib[layer][1] * stream.uniform(0.6, 1.4, shape)
    elif len(shape) > 1:
        values = stream.standard_normal(shape) / math.sqrt(math.prod(shape[1:]))
    elif leaf == "weight":
        values = stream.uniform(0.5, 1.5, shape)
    else:
        values = 0.2 * stream.standard_normal(shape)
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def seeded_image(height: int, width: int) -> Tensor:
    """Return the seeded input (1, 3, H, W), float32."""
    values = _stream("input", str(height), str(width)).standard_normal((1, 3, height, width))
    return torch.from_numpy(values.astype(np.float32))


def feature_error(feature: Tensor, stats: dict) -> float:
    """Return the largest deviation of a map from its stored figures, in units of the stored rms.

    Compared are mean, standard deviation, rms, largest magnitude and eight values; ``stats`` is one level of
    ``read_facts(…)["taps"][taps]["stats"]["224x224"]``.
    """
    assert list(feature.shape) == stats["shape"]
    flat = feature.detach().double().flatten()
    positions = (np.linspace(0.03, 0.97, 8) * (flat.numel() - 1)).astype(np.int64)
    found = [flat.mean(), flat.std(), flat.square().mean().sqrt(), flat.abs().max(), *flat[positions]]
    stored = [stats[name] for name in ("mean", "std", "rms", "absmax")] + stats["samples"]
    return max(abs(float(a) - b) for a, b in zip(found, stored, strict=True)) / stats["rms"]


def _stream(*parts: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32("|".join([SEED, *parts]).encode()) & 0x7FFFFFFF)
