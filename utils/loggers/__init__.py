"""Where the figures of a training run go: one file per logger, found by being in this folder."""

import importlib.util
import sys
from collections.abc import Sequence

from utils.errors import ConfigError
from utils.loggers._contract import LOGGERS, Logger, Run
from utils.loggers._guard import Guarded
from utils.registry import import_plugins

import_plugins(sys.modules[__name__])

ALWAYS = "csv"


def check_loggers(names: Sequence[str]) -> None:
    """Raises: ConfigError where the package of a logger is not installed."""
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # the latter of a folder ``wandb`` that an earlier run has left
            raise ConfigError(f"--logger {name}: the package {name} is not installed", f"pip install {name}")


def build_loggers(run: Run, names: Sequence[str] = ()) -> list[Logger]:
    """Return results.csv and the loggers ``names``, started; one of these that fails is dropped with a warning."""
    loggers = [LOGGERS.get(ALWAYS)(), *(Guarded(name, LOGGERS.get(name)()) for name in dict.fromkeys(names))]
    for logger in loggers:
        logger.start(run)
    return loggers
