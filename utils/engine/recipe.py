"""Training defaults that a model YAML carries under ``recipe``: hyper-parameters, and a few options of train.py.

What the user gives goes first: a file of --hyp before the recipe's hyper-parameters, a flag before the recipe's option.
The hyper-parameters of a recipe are for its optimizer: they are left out with another one.
"""

import logging
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from utils.config import allowed_instead
from utils.engine.configs import TrainConfig
from utils.engine.hyp import RANGES, checked, ranges_of_optional_keys
from utils.errors import ConfigError
from utils.registry import suggest

log = logging.getLogger(__name__)

# Options of TrainConfig that a recipe may set, and what they are where neither it nor the user does.
OPTIONS: dict[str, Any] = {"optimizer": "SGD", "backbone_lr": 1.0, "cos_lr": False}


def apply_recipe(
    recipe: Mapping[str, Any], cfg: TrainConfig, hyp: Mapping[str, Any], source: str
) -> tuple[TrainConfig, dict[str, Any]]:
    """Return options and hyper-parameters with the recipe's, else the defaults, for those that the user left alone.

    Raises: ConfigError naming an unknown key or a wrong value.
    """
    ranges = RANGES | {key: limits for key, (_, *limits) in ranges_of_optional_keys().items()}
    hyp, used = dict(hyp), {}
    suits = "optimizer" not in recipe or cfg.optimizer in (None, recipe["optimizer"])
    if not suits:
        log.info("recipe of %s: its hyper-parameters are for %s, not %s", source, recipe["optimizer"], cfg.optimizer)
    for key, value in recipe.items():
        if key in ranges:
            if suits and not cfg.hyp:
                low, high = ranges[key]
                hyp[key] = used[key] = checked(f"{source}: recipe", key, value, low, high)
        elif key not in OPTIONS:
            hint = suggest(str(key), [*ranges, *OPTIONS]) or f"options: {', '.join(OPTIONS)}"
            raise ConfigError(f"{source}: recipe: unknown key {key!r}", hint)
        else:
            _check_option(key, value, source)
            if getattr(cfg, key) is None:
                cfg = replace(cfg, **{key: value})
                used[key] = value
    if used:
        log.info("recipe of %s: %s", source, ", ".join(f"{key}={value}" for key, value in used.items()))
    absent = {key: default for key, default in OPTIONS.items() if getattr(cfg, key) is None}
    return replace(cfg, **absent), hyp


def _check_option(key: str, value: Any, source: str) -> None:
    """Raises: ConfigError where the flag would not take the value of a recipe's option."""
    field = next(field for field in fields(TrainConfig) if field.name == key)
    kind = type(OPTIONS[key])
    fits = isinstance(value, kind) or (kind is float and type(value) is int)
    allowed = allowed_instead(field, value) if fits else "true or false" if kind is bool else f"a {kind.__name__}"
    if allowed:
        raise ConfigError(f"{source}: recipe: {key}: {value!r}", f"give {allowed}")
