"""Tables of the layers and backbones that a model YAML can name.

Backbone contract: a builder takes keywords only, at least ``reductions`` (the strides wanted, None for all) and
``in_channels``; it returns a module with ``feature_channels: list[int]`` and ``reductions: tuple[int, ...]`` whose
``forward((B, in_channels, H, W))`` returns one map ``(B, feature_channels[i], H / reductions[i], W / reductions[i])``
per wanted reduction, fine to coarse. Nothing deeper than the coarsest wanted level is built. Building loads no weights.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from utils.predictions import Layout
from utils.registry import Registry

LAYERS = Registry("layer")
YOLOV8_LAYERS = Registry("layer")  # names that mean something else in the YOLOv8-style dialect (models/dialects.py)
BACKBONES = Registry("backbone")

MAX_PARAMETERS = 2_000_000_000  # of a model
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


NO_RECIPE = "none"  # what a model YAML has under ``recipe`` to be trained without any


def adamw(weight_decay: float) -> dict[str, Any]:
    """Return the training defaults that all families of backbones share; their authors differ in the decay."""
    return {
        "optimizer": "AdamW",
        "lr0": 0.002,
        "warmup_bias_lr": 0.002,
        "momentum": 0.9,  # β1
        "weight_decay": weight_decay,
    }


class Head(Protocol):
    """What a detector asks of its last module, which a loss of ``utils.losses`` is looked up for by its class.

    One that adapts to a data set before training has ``fit`` too, and names in ``fitted`` the tensors that it sets.
    One that can take another shape for weights to fit says so in ``wanted_options``.
    """

    nc: int
    stride: Tensor  # (L,) of each level, valid once attached
    layout: Layout  # of what ``decode`` returns

    def attach(self, strides: Sequence[int]) -> None:
        """Take the stride of each level, and set what depends on it, such as the priors of the biases."""

    def __call__(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the raw map of each level, in training and in eval mode alike: what a loss compares with targets."""

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """Return predictions in ``layout``, in pixels of the image and probabilities, at least float32."""

    def take_classes(self, state: Mapping[str, Tensor], nc: int, pairs: Sequence[tuple[int, int]]) -> bool:
        """Copy from the ``state`` of a head for ``nc`` classes what it knows of boxes and, (theirs, ours), of classes.

        Return False, and copy nothing, where it is of another kind or width.
        """


@dataclass(frozen=True)
class LayerEntry:
    """A layer class and the way in which a YAML row becomes its constructor arguments (see ``models/wiring.py``)."""

    cls: type[nn.Module]
    wiring: str  # conv | csp | same | norm | concat | contract | expand | head …


@dataclass(frozen=True)
class BackboneEntry:
    """A backbone builder with what is needed to load its published weights."""

    build: Callable[..., nn.Module]
    url: str = ""  # of the official weight file; empty where the authors give no direct link
    without_url: str = "download them and give the path of the file"  # what to do then
    head_prefixes: tuple[str, ...] = ()  # keys of the classifier, which a detector does not need
    convert: Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]] | None = None  # other layouts → ours
    load: Callable[[nn.Module, str | bool], list[str]] | None = None  # of a library with files of its own → keys filled
    mean: tuple[float, ...] = IMAGENET_MEAN  # input normalisation that the weights expect, RGB, of images in 0–1
    std: tuple[float, ...] = IMAGENET_STD
    recipe: Mapping[str, Any] = field(default_factory=dict)  # training defaults, as a model YAML carries them

    def __call__(self, **options: Any) -> nn.Module:
        return self.build(**options)


def register_layer(
    wiring: str, *, name: str = "", table: Registry = LAYERS
) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Return a class decorator that lists a layer under ``name``, else its class name."""

    def decorate(cls: type[nn.Module]) -> type[nn.Module]:
        table.register(name or cls.__name__)(LayerEntry(cls, wiring))
        return cls

    return decorate


def register_backbone(build: Callable | None = None, *, aliases: tuple[str, ...] = (), **facts: Any) -> Callable:
    """List a builder under its function name; ``facts`` are fields of BackboneEntry. With or without parentheses."""

    def decorate(function: Callable) -> Callable:
        BACKBONES.register(function.__name__, *aliases)(BackboneEntry(function, **facts))
        return function

    return decorate if build is None else decorate(build)
