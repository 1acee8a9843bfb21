"""What the type of an option says: of what type its values are, and how many it may have."""

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def value_type(hint: Any) -> tuple[type, bool]:
    """Return (type of one value, several allowed) of ``int``, ``str | None``, ``tuple[int, ...]`` or a union."""
    if isinstance(hint, types.UnionType):
        parts = [part for part in typing.get_args(hint) if part is not types.NoneType]
        hint = next((part for part in parts if typing.get_origin(part) is tuple), parts[0])
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], True
    return hint, False


def counts_of(hint: Any) -> list[int]:
    """Return how many values ``tuple[int] | tuple[int, int]`` may have; nothing where any number may be given."""
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    lengths = [typing.get_args(part) for part in parts if typing.get_origin(part) is tuple]
    if any(Ellipsis in values for values in lengths):
        return []
    counts = [len(values) for values in lengths]
    return [1, *counts] if may_be_one(hint) else counts


def may_be_one(hint: Any) -> bool:
    """Return whether an option of several values may be a single one, as in ``int | tuple[int, int]``."""
    parts = [part for part in typing.get_args(hint) if part is not types.NoneType]
    are_tuples = [typing.get_origin(part) is tuple for part in parts]
    return isinstance(hint, types.UnionType) and any(are_tuples) and not all(are_tuples)


def word_value(words: Mapping[str, Any], value: Any) -> Any:
    """Return what ``value`` stands for where it is one of the words, in any case; else the value."""
    return words.get(value.lower(), value) if isinstance(value, str) else value


@dataclass(frozen=True, eq=False)  # argparse wants a hash
class Worded:
    """Reads a value of type ``kind``, or a word that stands for one, from a command line."""

    kind: type
    words: Mapping[str, Any]

    @property
    def __name__(self) -> str:  # which argparse puts into its messages
        return self.kind.__name__

    def __call__(self, text: str) -> Any:
        """Raises: ValueError."""
        return self.kind(word_value(self.words, text))
