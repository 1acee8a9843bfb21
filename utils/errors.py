"""The errors that a user can cause and mend; scripts print them as one sentence and exit with their code."""


class UserError(Exception):
    """Ends a script with ``error: what`` and ``fix: how``, exit code 2 and no traceback.

    ``what`` names the thing, the place and the offending value; ``fix`` is one action that mends it.
    """

    exit_code = 2

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\nfix: {self.fix}" if self.fix else self.what


class ConfigError(UserError):
    """A flag, a model YAML, a data-set YAML or a hyper-parameter file says something impossible."""


class DataError(UserError):
    """Images or labels are missing or unreadable."""


class CheckpointError(UserError):
    """A weights file is damaged, foreign or does not fit the model."""


class ExportError(UserError):
    """The model cannot be exported, or the exported file computes something else."""


class OutputError(UserError):
    """A picture or video cannot be written in its format, whatever the disk."""


LOWER_RATE = "lower lr0 in the hyper-parameters, or look for broken labels"  # the usual fix of a DivergedError


class UnfitError(UserError):
    """The data set has been looked through, and is not fit to train on."""

    exit_code = 3


class DivergedError(UserError):
    """Training produced a loss, a gradient or a weight that is not finite."""

    exit_code = 4


def lacking_memory(error: Exception) -> str:
    """Return what has too little memory by an error of PyTorch, ``the GPU`` or ``the machine``; empty for any other."""
    if type(error).__name__ == "OutOfMemoryError":  # which is not imported for --help
        return "the GPU"
    return "the machine" if isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error) else ""


class StorageError(UserError):
    """The disk is full or read-only."""

    exit_code = 5
