"""Training defaults that a model YAML carries under ``recipe``: hyper-parameters, and a few options of train.py.

What the user gives goes first: a file of --hyp before the recipe's hyper-parameters, a flag before the recipe's option.
"""

import logging
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from utils.engine.configs import TrainConfig
from utils.engine.hyp import RANGES, checked, ranges_of_optional_keys
from utils.errors import ConfigError
from utils.registry import suggest

log = logging.getLogger(__name__)

OPTIONS = ("optimizer", "backbone_lr", "cos_lr")  # of TrainConfig


def apply_recipe(
    recipe: Mapping[str, Any], cfg: TrainConfig, hyp: Mapping[str, Any], source: str
) -> tuple[TrainConfig, dict[str, Any]]:
    """Return options and hyper-parameters with the recipe's in place of those that the user left alone.

    Raises: ConfigError naming an unknown key or a wrong value.
    """
    defaults = {field.name: field.default for field in fields(cfg)}
    ranges = RANGES | {key: limits for key, (_, *limits) in ranges_of_optional_keys().items()}
    hyp, used = dict(hyp), {}
    for key, value in recipe.items():
        if key in ranges:
            if not cfg.hyp:
                low, high = ranges[key]
                hyp[key] = used[key] = checked(f"{source}: recipe", key, value, low, high)
        elif key not in OPTIONS:
            hint = suggest(str(key), [*ranges, *OPTIONS]) or f"options: {', '.join(OPTIONS)}"
            raise ConfigError(f"{source}: recipe: unknown key {key!r}", hint)
        elif getattr(cfg, key) == defaults[key]:
            cfg = _with_option(cfg, key, value, source)
            used[key] = value
    if used:
        log.info("recipe of %s: %s", source, ", ".join(f"{key}={value}" for key, value in used.items()))
    return cfg, hyp


def _with_option(cfg: TrainConfig, key: str, value: Any, source: str) -> TrainConfig:
    field = next(field for field in fields(cfg) if field.name == key)
    choices = field.metadata["choices"]
    fits = value in choices if choices else isinstance(value, type(field.default) | int)
    if not fits:
        raise ConfigError(f"{source}: recipe: {key}: {value!r}", f"give {' or '.join(map(str, choices)) or 'a number'}")
    return replace(cfg, **{key: value})
