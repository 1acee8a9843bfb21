"""What a run is started with, as a few lines: the options and hyper-parameters that differ from the defaults."""

import logging
import shlex
import shutil
import textwrap
from collections.abc import Mapping
from typing import Any

from utils.config import SINGLE_CALL, option_fields, typed_option
from utils.configs.train import WITHOUT_RECIPE, TrainConfig
from utils.text import safe_text

log = logging.getLogger(__name__)

WIDTH = 100  # of the lines, on a terminal at most its own


def log_settings(cfg: TrainConfig, hyp: Mapping[str, Any], default_hyp: Mapping[str, Any], source: str) -> None:
    """Log what differs from the defaults; ``source`` is the file that the hyper-parameters are from."""
    changed = {key: value for key, value in hyp.items() if value != default_hyp.get(key)}
    values = ", ".join(f"{key} {safe_text(value)}" for key, value in changed.items())
    log.info("differs from the defaults (all settings: opt.yaml and hyp.yaml of the run):")
    _show("options", " ".join(_flags(cfg)) or "none")
    _show("hyper-parameters", f"{values or 'none'} (from {safe_text(source)})")


def _show(title: str, text: str) -> None:
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 0)).columns)
    lines = textwrap.wrap(
        f"{title}: {text}",
        width,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    log.info("\n".join(lines))


def _flags(cfg: TrainConfig) -> list[str]:
    """Return the options as they would be typed; a recipe's are among them."""
    flags = []
    for field in option_fields(cfg):
        value = getattr(cfg, field.name)
        if field.name in SINGLE_CALL or value == WITHOUT_RECIPE.get(field.name, field.default):
            continue
        flag, *values = typed_option(field.name, value)
        flags.append(" ".join([flag, *(shlex.quote(safe_text(part)) for part in values)]))
    return flags
