"""Options that do nothing beside others: each command has a table of them, and whoever gives one is told."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from utils.errors import ConfigError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Idle:
    """Options that do nothing where ``when(config)`` is true: how ``where`` is typed, and what to do about it.

    With a ``fix`` they are refused, as what was asked for would be missing at the end; else a warning says so, and
    command lines of YOLOv5 go on as they do there.
    """

    options: str  # names with spaces between them
    where: str
    when: Callable[[Any], bool]
    fix: str = ""


def check_idle(cfg: Any, table: Sequence[Idle]) -> None:
    """Warn of what was given on the command line, or by a program, for nothing; what is off or 0 is not given.

    Raises: ConfigError for the first that has a fix.
    """
    typed = {name for name in cfg.given - cfg.from_file if getattr(cfg, name)}
    for rule in table:
        names = [name for name in rule.options.split() if name in typed]
        if not names or not rule.when(cfg):
            continue
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in names)
        text = f"{flags} {'means' if len(names) == 1 else 'mean'} nothing {rule.where}"
        if rule.fix:
            raise ConfigError(text, rule.fix)
        log.warning("%s", text)
