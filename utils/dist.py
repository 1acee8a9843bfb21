"""What the environment says of other processes of the same run."""

import os

from utils.errors import ConfigError


def refuse_several_processes() -> None:
    """Raises: ConfigError under ``torchrun`` with more than one process, SystemExit in all of these but the first.

    Each would train by itself, on the same device and into a folder of its own.
    """
    count, rank = (_number(os.environ.get(name, "")) for name in ("WORLD_SIZE", "RANK"))
    if count < 2:
        return
    if rank > 0:
        raise SystemExit(ConfigError.exit_code)
    raise ConfigError(
        f"torchrun started {count} processes (WORLD_SIZE={count}), which cannot share one run yet",
        "start python alone, without torchrun",
    )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
