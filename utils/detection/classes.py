"""Classes on a command line, by name or by id: ``person``, ``2``, ``person=0.5``."""

from collections.abc import Mapping, Sequence

from utils.data.scan.class_matching import loose
from utils.errors import ConfigError
from utils.registry import suggest


def class_ids(given: Sequence[str], names: Mapping[int, str], flag: str = "--classes") -> tuple[int, ...]:
    """Return the ids of classes; a name that several classes have stands for all of them.

    A name is taken as it is written, else as ``ClassMatcher`` finds it; only what is no name is an id.
    Raises: ConfigError.
    """
    return tuple(dict.fromkeys(class_id for text in given for class_id in _ids(text, names, flag)))


def _ids(text: str, names: Mapping[int, str], flag: str) -> list[int]:
    exact = [class_id for class_id, name in names.items() if name == text]
    if exact:
        return exact
    if text.isdecimal() and int(text) in names:
        return [int(text)]
    alike = [class_id for class_id, name in names.items() if loose(name) == loose(text)]
    if alike:
        return alike
    if "," in text:
        raise ConfigError(f"{flag} {text}: the model knows no such class", "put spaces between them, not commas")
    if text.lstrip("-").isdecimal():
        raise ConfigError(
            f"{flag} {text}: the model knows {len(names)} classes", f"give names, or ids from 0 to {max(names)}"
        )
    fix = suggest(text, names.values()) or f"give a name, in quotes if it has spaces, or an id from 0 to {max(names)}"
    raise ConfigError(f"{flag} {text}: the model knows no such class", fix)


def parse_thresholds(given: Sequence[str] | None) -> list[tuple[str, float]]:
    """Return (class, confidence) of entries ``name=0.5`` or ``2=0.5``. Raises: ConfigError."""
    parsed = []
    for entry in given or ():
        text, _, value = entry.rpartition("=")
        if not text or not is_share(value):
            fix = "write it as person=0.5, with a number from 0 to 1"
            raise ConfigError(f"--class-conf {entry}: not a class with its confidence", fix)
        parsed.append((text, float(value)))
    return parsed


def class_thresholds(given: Sequence[str] | None, names: Mapping[int, str]) -> dict[int, float]:
    """Return id → confidence of entries as for ``parse_thresholds``. Raises: ConfigError."""
    thresholds: dict[int, float] = {}
    for text, value in parse_thresholds(given):
        for class_id in class_ids([text], names, "--class-conf"):
            if class_id in thresholds:
                raise ConfigError(f"--class-conf {text}: this class has two thresholds", "leave one of them out")
            thresholds[class_id] = value
    return thresholds


def is_share(text: str) -> bool:
    """Return whether a text is a number from 0 to 1."""
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
