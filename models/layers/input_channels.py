"""Weights for images of other channels than those that they were trained with.

The kernels of the convolution that reads the image are adapted as timm does. For one channel they are summed, so that a
grey image gives what its copies in all channels gave. For n they are repeated in turn, R, G, B, R, …, and scaled by
3 / n, which keeps the size of the sums.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Facts = Mapping[str, list[float]]


def adapt_kernels(weight: Tensor, before: int, channels: int) -> Tensor:
    """Return kernels (O, g · before, h, w) as (O, g · channels, h, w); g > 1 where pixels were moved into channels."""
    groups = weight.unflatten(1, (-1, before))  # (O, g, before, h, w)
    if channels == 1:
        return groups.double().sum(2).to(weight.dtype)
    turns = torch.arange(channels) % before
    return (groups[:, :, turns].double() * (before / channels)).to(weight.dtype).flatten(1, 2)


def adapt_state(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], before: int, channels: int
) -> dict[str, Tensor]:
    """Return the tensors with the kernels that read ``before`` channels adapted to those of the model ``own``."""
    if before == channels:
        return dict(state)
    reading = {key for key in state if key in own and _reads(state[key], own[key], before, channels)}
    return {key: adapt_kernels(value, before, channels) if key in reading else value for key, value in state.items()}


def _reads(value: Tensor, own: Tensor, before: int, channels: int) -> bool:
    """Return whether these are kernels that read the image in both models."""
    if value.ndim != 4 or own.ndim != 4 or value.shape[0] != own.shape[0] or value.shape[2:] != own.shape[2:]:
        return False
    return value.shape[1] % before == 0 and value.shape[1] // before * channels == own.shape[1]


def adapt_normalization(facts: Facts | None, channels: int) -> dict[str, list[float]] | None:
    """Return mean and std for ``channels``: for one the means of all, otherwise those of the channels in turn."""
    if facts is None or len(facts["mean"]) == channels:
        return facts and dict(facts)
    return {key: _adapted(values, channels) for key, values in facts.items()}


def _adapted(values: Sequence[float], channels: int) -> list[float]:
    if channels == 1:
        return [math.fsum(values) / len(values)]
    return [values[channel % len(values)] for channel in range(channels)]
