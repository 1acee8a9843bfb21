"""The folder of several trainings: what it notes of them, and how it is taken up again."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from utils.config import SINGLE_CALL, make_config, option_values, read_options
from utils.configs.train import TrainConfig
from utils.errors import ConfigError
from utils.search.which import note_of
from utils.yaml_file import read_yaml, write_yaml

OPTIONS = "opt.yaml"
MAY_CHANGE = {"device", "workers", "cache"}  # where trainings run, not what comes of them


def write_note(folder: Path, kind: str, cfg: TrainConfig, note: Mapping[str, Any]) -> None:
    """Note the options of each training, and what there is besides; the latter makes the folder one of its kind."""
    write_yaml(folder / OPTIONS, option_values(cfg))
    write_yaml(folder / note_of(kind), dict(note))


def read_note(folder: Path, kind: str, cfg: TrainConfig) -> tuple[TrainConfig, dict[str, Any]]:
    """Return the options of each training, and the rest of the note.

    Raises: ConfigError for an option given now that would change what is compared, and for a damaged note.
    """
    before = make_config(TrainConfig, read_options(TrainConfig, str(folder / OPTIONS)))
    given = {name: getattr(cfg, name) for name in sorted(cfg.given - set(SINGLE_CALL))}
    changed = [name for name, value in given.items() if name not in MAY_CHANGE and value != getattr(before, name)]
    if changed:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
        what = f"{folder}: the trainings in it have other options than are given now: {flags}"
        raise ConfigError(what, "leave these out, or start anew without --resume")
    note = read_yaml(folder / note_of(kind))
    if not isinstance(note, dict) or not isinstance(note.get(kind), int):
        raise ConfigError(f"{folder / note_of(kind)}: its entry {kind!r} is not a number", "start anew")
    return replace(before, **{name: given[name] for name in MAY_CHANGE & given.keys()}), note
