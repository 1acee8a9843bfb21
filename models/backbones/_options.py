"""Which levels a backbone builds, from the reductions that its reader asks for."""

from collections.abc import Iterable

from utils.errors import ConfigError


def select_reductions(available: tuple[int, ...], wanted: Iterable[int] | None) -> tuple[int, ...]:
    """Return ``wanted`` from fine to coarse; all of ``available`` for None.

    Raises: ConfigError for a reduction that the backbone does not have.
    """
    if wanted is None:
        return available
    chosen = tuple(sorted(set(wanted)))
    absent = [r for r in chosen if r not in available]
    if absent or not chosen:
        raise ConfigError(
            f"reductions {list(chosen)}: this backbone has {', '.join(f'/{r}' for r in available)}",
            fix=f"choose among {list(available)}",
        )
    return chosen


def choose(option: str, value: str, choices: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of ``choices``. Raises: ConfigError naming the option."""
    if value not in choices:
        raise ConfigError(f"{option}={value!r} is unknown", fix=f"use {' or '.join(choices)}")
    return value
