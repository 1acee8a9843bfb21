"""Name tables: what can be named in a YAML file or on a command line, and the answer to a wrong name."""

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from utils.errors import ConfigError


def suggest(name: str, choices, *, prefix: str = "") -> str:
    """Return ``did you mean …`` for the closest of ``choices``, each behind ``prefix``, ignoring case, or nothing."""
    by_lower = {choice.lower(): choice for choice in reversed(list(choices))}  # the first of equals wins
    close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(prefix + by_lower[c] for c in close)}?" if close else ""


class Registry:
    """An ordered table from name to object, filled by a decorator; aliases resolve but are not listed."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Any] = {}
        self._aliases: dict[str, str] = {}

    def register(self, name: str, *aliases: str) -> Callable[[Any], Any]:
        """Return a decorator that stores its object under ``name`` and ``aliases``."""

        def decorate(entry: Any) -> Any:
            taken = [n for n in (name, *aliases) if n in self._entries or n in self._aliases]
            assert not taken, f"{self.kind} {taken} registered twice"
            self._entries[name] = entry
            self._aliases.update(dict.fromkeys(aliases, name))
            return entry

        return decorate

    def canonical(self, name: str) -> str:
        """Return the listed name behind an alias, or ``name`` itself."""
        return self._aliases.get(name, name)

    def get(self, name: str) -> Any:
        """Return the entry called ``name``. Raises: ConfigError with the closest names."""
        if name not in self:
            hint = suggest(name, [*self._entries, *self._aliases]) or f"known: {', '.join(self._entries)}"
            raise ConfigError(f"unknown {self.kind} {name!r}", hint)
        return self._entries[self.canonical(name)]

    def aliases(self, name: str) -> list[str]:
        """Return the other names of the entry ``name``."""
        return [alias for alias, target in self._aliases.items() if target == name]

    def __contains__(self, name: str) -> bool:
        return self.canonical(name) in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def import_plugins(package: ModuleType) -> None:
    """Import every public module of a plug-in folder, so that its decorators fill the folder's table."""
    for module in pkgutil.iter_modules(package.__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{package.__name__}.{module.name}")
