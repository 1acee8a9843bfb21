"""What the environment says of the processes of one run, as ``torchrun`` and this repository's launcher set it."""

import os

from utils.errors import ConfigError


def world() -> int:
    """Return how many processes share the run."""
    return max(_number("WORLD_SIZE"), 1)


def rank() -> int:
    """Return the number of this process among them; number 0 writes and speaks for all."""
    return _number("RANK") if world() > 1 else 0


def local_rank() -> int:
    """Return its number among those of this machine, which chooses its GPU."""
    return _number("LOCAL_RANK") if world() > 1 else 0


def local_world() -> int:
    """Return how many processes of the run this machine has."""
    return max(_number("LOCAL_WORLD_SIZE"), 1) if world() > 1 else 1


def refuse_several_processes() -> None:
    """Raises: ConfigError under ``torchrun`` with more than one process, SystemExit in all of these but the first.

    For a command that does not share its work: each process would do all of it by itself.
    """
    if rank() > 0:
        raise SystemExit(ConfigError.exit_code)
    if world() > 1:
        raise ConfigError(
            f"torchrun started {world()} processes (WORLD_SIZE={world()}), but only train.py shares its work",
            "start python alone, without torchrun",
        )


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else 0
