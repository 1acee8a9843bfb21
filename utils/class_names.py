"""The class names that a YAML file gives: the text as written, by class id."""

from pathlib import Path
from typing import Any

from utils.errors import ConfigError


def numbered_names(nc: int) -> dict[int, str]:
    """Return the names of classes that have none: their numbers."""
    return {index: str(index) for index in range(nc)}


def read_class_names(names: Any, place: str | Path) -> dict[int, str]:
    """Return the names by id, from a list or a mapping 0…n-1 of texts. Raises: ConfigError, ``place`` in front."""
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict):
        raise ConfigError(f"{place}: names is {names!r}, not a list or mapping", "write names: [first, second]")
    absent = [index for index in range(len(names)) if index not in names]
    if absent:
        keys = ", ".join(map(repr, names))
        raise ConfigError(
            f"{place}: names must have the keys 0 to {len(names) - 1}, but {absent[0]} is missing among {keys}",
            "number the classes without gaps or quotes",
        )
    for index, name in names.items():
        if name is None:
            raise ConfigError(f"{place}: class {index} has no name", "give every class a name")
        if not isinstance(name, str):
            raise ConfigError(f"{place}: the name of class {index} is {name!r}, not a text", "put it in quotes")
    return {index: names[index] for index in range(len(names))}
