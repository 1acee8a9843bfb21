"""What an augmentation of a finished picture is, and the table of those that there are.

A transform is a class with ``keys``, the hyper-parameters that it reads, and a constructor that takes their values in
that order. It is used when one of the values is not zero; a hyper-parameter file without the key switches it off.
Calling it with a Sample and a random generator returns a Sample. It may write into the image, must draw every random
number from the generator, and must leave boxes between 0 and 1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from utils.registry import Registry

TRANSFORMS = Registry("transform")


@dataclass(frozen=True)
class Sample:
    """A picture and what is on it."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    labels: np.ndarray  # (n, 5) [class, cx, cy, w, h], 0–1


class Transform(Protocol):
    keys: tuple[str, ...]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample: ...


def register_transform(cls: type) -> type:
    return TRANSFORMS.register(cls.__name__.lower())(cls)


def build_transforms(values: Mapping[str, float]) -> list[Callable[[Sample, np.random.Generator], Sample]]:
    """Return the transforms that the hyper-parameters switch on, in the order of their names."""
    chosen = [TRANSFORMS.get(name) for name in sorted(TRANSFORMS)]
    return [cls(*(values.get(key, 0.0) for key in cls.keys)) for cls in chosen if any(map(values.get, cls.keys))]


def transform_keys() -> list[str]:
    """Return the hyper-parameters that some transform reads."""
    return [key for name in TRANSFORMS for key in TRANSFORMS.get(name).keys]
