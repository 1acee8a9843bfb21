"""Training defaults that a model YAML carries under ``recipe``: hyper-parameters, and a few options of train.py.

What the user gives goes first. A recipe's optimizer and its hyper-parameters belong together: with a file of --hyp, or
with another --optimizer, both are left out. Its other options give way to their flags.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from utils.config import allowed_instead, option_fields
from utils.configs.train import WITHOUT_RECIPE, TrainConfig
from utils.errors import ConfigError
from utils.losses._contract import LossEntry
from utils.registry import suggest
from utils.training.hyp import checked, hyper_of_other_losses, known_hyper

log = logging.getLogger(__name__)


def apply_recipe(
    recipe: Mapping[str, Any], cfg: TrainConfig, hyp: Mapping[str, Any], loss: LossEntry, source: str
) -> tuple[TrainConfig, dict[str, Any]]:
    """Return options and hyper-parameters with the recipe's, else the defaults, for those that the user left alone.

    Gains of another head's ``loss`` are passed over.
    Raises: ConfigError naming an unknown key or a wrong value.
    """
    whose = _goes_first(recipe, cfg)
    if whose:
        log.info("recipe of %s: %s goes first, so its optimizer and hyper-parameters are left out", source, whose)
    used = used_of(recipe, cfg, loss, source)
    if used:
        log.info("recipe of %s: %s", source, ", ".join(f"{key}={value}" for key, value in used.items()))
    options = {key: used.get(key, default) for key, default in WITHOUT_RECIPE.items() if getattr(cfg, key) is None}
    return replace(cfg, **options), {**hyp, **{key: value for key, value in used.items() if key not in WITHOUT_RECIPE}}


def used_of(recipe: Mapping[str, Any], cfg: TrainConfig, loss: LossEntry, source: str) -> dict[str, Any]:
    """Return the options and hyper-parameters that ``apply_recipe`` takes from the recipe. Raises: ConfigError."""
    known, foreign = known_hyper(loss), hyper_of_other_losses(loss)
    whose, used = _goes_first(recipe, cfg), {}
    for key, value in recipe.items():
        if key in known:
            if not whose:
                used[key] = checked(f"{source}: recipe", key, value, known[key])
        elif key not in WITHOUT_RECIPE and key not in foreign:
            hint = suggest(str(key), [*known, *WITHOUT_RECIPE]) or f"options: {', '.join(WITHOUT_RECIPE)}"
            raise ConfigError(f"{source}: recipe: unknown key {key!r}", hint)
        elif key in WITHOUT_RECIPE:
            _check_option(key, value, source)
            if getattr(cfg, key) is None and not (whose and key == "optimizer"):
                used[key] = value
    return used


def _goes_first(recipe: Mapping[str, Any], cfg: TrainConfig) -> str:
    """Return the flag that replaces the recipe's optimizer and hyper-parameters, empty where it has none."""
    if recipe.keys() <= WITHOUT_RECIPE.keys() - {"optimizer"}:
        return ""
    if cfg.hyp:
        return "--hyp"
    is_other = "optimizer" in recipe and cfg.optimizer not in (None, recipe["optimizer"])
    return f"--optimizer {cfg.optimizer}" if is_other else ""


def _check_option(key: str, value: Any, source: str) -> None:
    """Raises: ConfigError where the flag would not take the value of a recipe's option."""
    field = next(field for field in option_fields(TrainConfig) if field.name == key)
    kind = type(WITHOUT_RECIPE[key])
    fits = isinstance(value, kind) or (kind is float and type(value) is int)
    allowed = allowed_instead(field, value) if fits else "true or false" if kind is bool else f"a {kind.__name__}"
    if allowed:
        raise ConfigError(f"{source}: recipe: {key}: {value!r}", f"give {allowed}")
