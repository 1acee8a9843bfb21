"""What an augmentation of a finished picture is, and the table of those that there are.

A transform is a class with ``keys``, the hyper-parameters that it reads, and a constructor that takes their values in
that order. It is used when one of the values is not zero; a hyper-parameter file without the key switches it off.
``rgb_only`` names those of the keys that mean something for RGB of 8 bits alone; for other pixels they are off.
Calling it with a Sample and a random generator returns a Sample. It may write into the image, must draw every random
number from the generator, and must leave boxes between 0 and 1.

What the list ``transforms`` of a hyper-parameter file may name is a second table, ``LISTED``: dataclasses whose
``hyper(…)`` fields are the parameters, and functions (Sample, rng) → Sample, which get a probability ``p``.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from utils.hyper import hyper, hyper_fields
from utils.pixels import RGB, PixelFormat
from utils.registry import Registry

log = logging.getLogger(__name__)

TRANSFORMS = Registry("transform")
LISTED = Registry("transform")


@dataclass(frozen=True)
class Sample:
    """A picture and what is on it."""

    image: np.ndarray  # (H, W, C) uint8 or uint16, of three channels RGB
    labels: np.ndarray  # (n, 5) [class, cx, cy, w, h], 0–1


class Transform(Protocol):
    keys: tuple[str, ...]
    rgb_only: tuple[str, ...]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample: ...


def register_transform(cls: type) -> type:
    return TRANSFORMS.register(cls.__name__.lower())(cls)


Step = Callable[[Sample, np.random.Generator], Sample]


class Listed(NamedTuple):
    """A transform of lists: what makes it from its ``parameters``, by name."""

    build: Callable[..., Step]
    parameters: dict[str, Field]
    rgb_only: bool  # it means something for RGB of 8 bits alone


@dataclass(frozen=True)
class Sometimes:
    """Takes a step with probability ``p``."""

    step: Step
    p: float = hyper(0.5, 0, 1)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return self.step(sample, rng) if rng.random() < self.p else sample


def register_listed(name: str, *, rgb_only: bool = False) -> Callable[[Any], Any]:
    """Return a decorator that lets lists name a dataclass of hyper-parameters, or a step, which gets ``p``."""

    def decorate(item: Any) -> Any:
        build, fields_of = (item, item) if isinstance(item, type) else (partial(Sometimes, item), Sometimes)
        LISTED.register(name)(Listed(build, hyper_fields(fields_of), rgb_only))
        return item

    return decorate


def build_transforms(values: Mapping[str, float], pixels: PixelFormat = RGB) -> list[Step]:
    """Return the transforms that the hyper-parameters switch on, in the order of their names."""
    if pixels != RGB:
        values = _without_colors(values, pixels)
    chosen = [TRANSFORMS.get(name) for name in sorted(TRANSFORMS)]
    return [cls(*(values.get(key, 0.0) for key in cls.keys)) for cls in chosen if any(map(values.get, cls.keys))]


def _without_colors(values: Mapping[str, float], pixels: PixelFormat) -> dict[str, float]:
    """Return the values with those at 0 that are for RGB alone, and say so."""
    rgb_only = [key for name in sorted(TRANSFORMS) for key in TRANSFORMS.get(name).rgb_only]
    off = [key for key in rgb_only if values.get(key)]
    if off:
        log.info("%s: for RGB of 8 bits only, not for %s: switched off", ", ".join(off), pixels)
    return {key: 0.0 if key in off else value for key, value in values.items()}


def transform_keys() -> list[str]:
    """Return the hyper-parameters that some transform reads."""
    return [key for name in TRANSFORMS for key in TRANSFORMS.get(name).keys]
