"""Fill a model of timm with weights: timm's own, or a file in the layout of timm or of the model's authors."""

import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import _builder
from torch import Tensor, nn

from models.backbones._level_adapter import LevelAdapter
from models.backbones._weight_file import check_finite, find_state, read_file
from utils.errors import CheckpointError
from utils.quiet import quiet


def load_timm(name: str, adapter: LevelAdapter, source: str | Path | bool) -> list[str]:
    """Load timm's own weights (``True``) or a file in timm's layout, in place; return the keys that it filled.

    Raises: CheckpointError unless the file is a complete one of this model, its classifier aside.
    """
    label = "its published weights" if source is True else str(source)
    options = {key: value for key, value in adapter.recipe.options if key != "feature_cls"}
    options |= {"in_chans": adapter.in_channels}
    try:
        with quiet(logging.ERROR, "huggingface_hub"):  # each attempt; the last one's reason is in the error
            state = _trained(name, options, source).state_dict()
    except CheckpointError:
        raise
    except Exception as error:  # network, file, layout: timm's errors have no class in common
        reason = " ".join(line.strip() for line in str(error).strip().split("\n")[:2])[:300] or type(error).__name__
        raise CheckpointError(
            f"timm/{name}: {label} not loaded: {reason}", "check the file or the network, or train without weights"
        ) from error
    own = adapter.body.state_dict()
    trained = {_canonical(key): value for key, value in state.items()}
    fitting = {key: trained.get(_canonical(key)) for key in own}
    absent = [key for key, value in fitting.items() if value is None or value.shape != own[key].shape]
    if absent:
        raise CheckpointError(
            f"timm/{name}: {label} lack {len(absent)} tensors ({', '.join(absent[:3])})",
            "give a complete file of this model, or train without weights",
        )
    check_finite(fitting, f"timm/{name}: {label}")
    adapter.body.load_state_dict(fitting)
    return [f"body.{key}" for key in own]


def _trained(name: str, options: dict[str, Any], source: str | Path | bool) -> nn.Module:
    """Return the whole classifier; timm is strict where the number of classes is the file's."""
    if source is True:
        return timm.create_model(name, pretrained=True, **options)
    state, _ = find_state(read_file(Path(source)), (), Path(source))
    classes = _count_classes(name, options, state)
    overlay = {"state_dict": state, "num_classes": classes, "label_offset": 0}
    return timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay=overlay, **options | {"num_classes": classes}
    )


def _count_classes(name: str, options: dict[str, Any], state: dict[str, Tensor]) -> int:
    """Return how many classes the classifier in ``state`` has, 0 without one.

    Its authors may call it as they like: which tensor it is shows only in timm's layout.
    """
    classifier = timm.get_pretrained_cfg(name).classifier
    first = classifier if isinstance(classifier, str) or not classifier else classifier[0]
    head = _in_timms_layout(name, options, state).get(f"{first}.weight")
    return 0 if head is None else head.shape[0]


def _in_timms_layout(name: str, options: dict[str, Any], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return ``state`` as timm's own converter of this model leaves it.

    Only timm's builder knows the converter, and hands it to its loader: we stand in for the loader, on the meta device.
    """
    converted = dict(state)

    def convert(model: nn.Module, filter_fn: Callable | None = None, **_: Any) -> None:
        nonlocal converted
        if filter_fn is not None:
            takes_model = len(inspect.signature(filter_fn).parameters) > 1
            with torch.device("cpu"):
                converted = filter_fn(converted, model) if takes_model else filter_fn(converted)

    loader, _builder.load_pretrained = _builder.load_pretrained, convert
    try:
        with torch.device("meta"):
            timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": state}, **options)
    finally:
        _builder.load_pretrained = loader
    return converted


def _canonical(key: str) -> str:
    """Return the key that timm's classifier and its feature extractor agree on."""
    return key.removeprefix("model.").replace(".", "_")
