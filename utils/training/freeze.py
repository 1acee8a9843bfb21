"""Freeze parts of a model: their weights get no gradients and their norms keep their statistics."""

from collections.abc import Sequence

from torch import nn

from utils.errors import ConfigError

BACKBONE = "backbone"


def frozen_rows(choice: Sequence[str], rows: int, backbone_rows: int) -> list[int]:
    """Return the rows of a model that ``--freeze`` names: ``backbone``, one count N (the first N), or several indices.

    Raises: ConfigError for anything else, and for a row that the model does not have.
    """
    if not choice:
        return []
    if tuple(choice) == (BACKBONE,):
        return list(range(backbone_rows))
    if not all(value.isdecimal() for value in choice):
        raise ConfigError(f"--freeze {' '.join(choice)}", f"give {BACKBONE!r}, a count of rows, or several row numbers")
    numbers = [int(value) for value in choice]
    chosen = list(range(numbers[0])) if len(numbers) == 1 else numbers
    if max(chosen, default=0) >= rows:
        raise ConfigError(f"--freeze {' '.join(choice)}: the model has rows 0 to {rows - 1}", "give smaller numbers")
    return chosen


def freeze_rows(model: nn.Sequential, rows: Sequence[int]) -> list[nn.Module]:
    """Stop the gradients of these rows, in place, and return them; keep them in eval mode while training."""
    frozen = [model[row] for row in rows]
    for module in frozen:
        module.requires_grad_(False)
    return frozen
