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


class Freezing:
    """Rows of a model that are frozen, for ever or until an epoch.

    Those that will train later are in the optimizer from the start: as long as they have no gradients, it leaves them
    and what it knows of them alone. So the epoch is all that a resume needs.
    """

    def __init__(self, model: nn.Sequential, rows: Sequence[int], until: int | None = None) -> None:
        """Freeze what stays frozen, in place; ``until`` is the first epoch in which the rows train.

        Raises: ConfigError where nothing else is left to train.
        """
        self.modules, self.until = [model[row] for row in rows], until
        # a few parameters never train: the bins of a head, the masks of some backbones
        self.parameters = [p for module in self.modules for p in module.parameters() if p.requires_grad]
        if len(set(map(id, self.parameters))) == sum(p.requires_grad for p in model.parameters()):
            raise ConfigError("every row of the model is frozen", "freeze fewer rows")
        if until is None:
            self.start(0)

    def start(self, epoch: int) -> None:
        """Make the model, which is in training mode, ready for an epoch, in place."""
        is_frozen = self.until is None or epoch < self.until
        for parameter in self.parameters:
            parameter.requires_grad_(not is_frozen)
        for module in self.modules if is_frozen else ():
            module.eval()
