"""Declare an option once, as a field of a frozen dataclass; the command line and its help derive from it.

@dataclass(frozen=True)
class DetectConfig:
    weights: str = option("", help="weights file", aliases=("--weight",))
    save: bool = option(True, help="save drawn images", off_aliases=("--nosave",))
"""

import argparse
import dataclasses
import math
import os
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from utils.absent_flags import check_flag, check_value
from utils.bad_arguments import refused, unknown
from utils.errors import ConfigError
from utils.registry import suggest


def option(
    default: Any,
    *,
    help: str,
    aliases: tuple[str, ...] = (),
    off_aliases: tuple[str, ...] = (),
    const: Any = None,
    choices: tuple[Any, ...] = (),
    low: float = -math.inf,
    high: float = math.inf,
) -> Any:
    """Return a dataclass field that is also a flag ``--field-name``.

    ``aliases`` are further spellings; ``off_aliases`` are flags that switch a boolean off (``--nosave``);
    ``const`` is the value of the flag without an argument (``--cache`` alone); a default of None tells what was not
    given. A number, or each of several, must lie from ``low`` to ``high``. A field ``int | tuple[int, int]`` is a
    number where one is given.
    """
    metadata = {"help": help, "aliases": aliases, "off_aliases": off_aliases, "const": const, "choices": choices}
    metadata |= {"low": low, "high": high}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Given:
    """Base of a config that knows which of its options the user has given."""

    given: frozenset[str] = dataclasses.field(default=frozenset(), repr=False, compare=False)


def option_fields(config_class: Any) -> list[dataclasses.Field]:
    """Return the fields of a config class, or of an instance, that are options."""
    return [field for field in dataclasses.fields(config_class) if "help" in field.metadata]


def option_values(cfg: Any) -> dict[str, Any]:
    """Return the values of all options by name."""
    return {field.name: getattr(cfg, field.name) for field in option_fields(cfg)}


def _filled(config_class: type, values: Mapping[str, Any]) -> Any:
    """Return an instance with the given values and the defaults of the others. Raises: ConfigError."""
    given = {"given": frozenset(values)} if issubclass(config_class, Given) else {}
    return check_config(config_class(**values, **given))


def parse_config(config_class: type, argv: Sequence[str], prog: str | None = None) -> Any:
    """Return an instance of the dataclass filled from ``argv``. Raises: ConfigError; SystemExit(0) after ``--help``."""
    parser = _parser(config_class, prog)
    argv = [_whole_flag(parser, argument) for argument in argv]
    known = parser._option_string_actions
    try:
        namespace, rest = parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise refused(known, argv, error) from error
    if rest:
        raise unknown(known, argv, rest[0], _command(config_class))
    hints = typing.get_type_hints(config_class)
    values = {k: _gathered(v, hints[k]) if isinstance(v, list) else v for k, v in vars(namespace).items()}
    return _filled(config_class, values)


def make_config(config_class: type, options: Mapping[str, Any]) -> Any:
    """Return an instance of the dataclass from Python values, by the names of the flags or their other spellings.

    Raises: ConfigError for an unknown name, and for a value that the flag would not take.
    """
    names, hints = _names(config_class), typing.get_type_hints(config_class)
    values = {}
    for given, value in options.items():
        if given not in names:
            check_flag(_command(config_class), f"--{given}")
            raise ConfigError(
                f"unknown option {given!r}",
                suggest(given, names) or f"known: {', '.join(f.name for f in option_fields(config_class))}",
            )
        name, negated = names[given]
        value = _without_argument(config_class, name, value)
        values[name] = not value if negated else _fitting(name, value, hints[name])
    return _filled(config_class, values)


def _names(config_class: type) -> dict[str, tuple[str, bool]]:
    """Return field and whether it is meant negatively (``noplots``) for every name that an option has."""
    names = {}
    for field in option_fields(config_class):
        for spelling in (field.name, *field.metadata["aliases"]):
            names[spelling.lstrip("-").replace("-", "_")] = field.name, False
        for spelling in field.metadata["off_aliases"]:
            names[spelling.lstrip("-").replace("-", "_")] = field.name, True
    return names


def _without_argument(config_class: type, name: str, value: Any) -> Any:
    """Return what ``True`` and ``False`` mean for an option that can be given as a flag alone, like ``--cache``."""
    const = next(field.metadata["const"] for field in option_fields(config_class) if field.name == name)
    return value if const is None or not isinstance(value, bool) else const if value else None


def _fitting(name: str, value: Any, hint: Any) -> Any:
    """Return a value in the type of its field. Raises: ConfigError."""
    kind, many = (bool, False) if hint in (bool, bool | None) else _value_type(hint)
    if value is None:
        return None
    items = list(value) if many and isinstance(value, list | tuple) else [value]
    fits = {str: (str, os.PathLike, int), float: (float, int), int: int, bool: bool}[kind]
    wrong = [item for item in items if not isinstance(item, fits) or (isinstance(item, bool) and kind is not bool)]
    if wrong:
        raise ConfigError(f"{name} is {wrong[0]!r}", f"give a value of type {kind.__name__}")
    items = [os.fspath(item) if isinstance(item, os.PathLike) else kind(item) for item in items]
    return _gathered(items, hint) if many else items[0]


def _gathered(items: list[Any], hint: Any) -> Any:
    """Return the values of an option as a tuple, or the only one of an option that may be a single value."""
    return items[0] if len(items) == 1 and _may_be_one(hint) else tuple(items)


def _command(config_class: type) -> str:
    return config_class.__name__.removesuffix("Config").lower()


def _whole_flag(parser: argparse.ArgumentParser, argument: str) -> str:
    """Return a flag that was shortened (``--conf``) in full, if it can be only one; anything else as it is."""
    name, equals, value = argument.partition("=")
    known = parser._option_string_actions
    if not name.startswith("--") or name in known:
        return argument
    spellings = {id(action): flag for flag, action in reversed(known.items()) if flag.startswith(name)}
    return f"{next(iter(spellings.values()))}{equals}{value}" if len(spellings) == 1 else argument


def check_config(cfg: Any) -> Any:
    """Return an instance of a config class if all of its values are allowed. Raises: ConfigError."""
    hints = typing.get_type_hints(type(cfg))
    for field in option_fields(cfg):
        given, flag = getattr(cfg, field.name), "--" + field.name.replace("_", "-")
        values, counts = given if isinstance(given, tuple) else (given,), _counts(hints[field.name])
        if counts and given is not None and len(values) not in counts:
            fix = f"give {' or '.join(map(str, counts))}"
            raise ConfigError(f"{flag} {' '.join(map(str, values))}: {len(values)} values", fix)
        for value in values:
            check_value(field.name, value)
            allowed = None if value is None else allowed_instead(field, value)
            if allowed:
                raise ConfigError(f"{flag} {value} is out of range", f"give {allowed}")
    return cfg


def allowed_instead(field: dataclasses.Field, value: Any) -> str:
    """Return what the option takes in place of ``value``, empty where it takes it; nan lies in no range."""
    low, high, choices = (field.metadata[key] for key in ("low", "high", "choices"))
    if choices:
        return "" if value in choices else " or ".join(map(str, choices))
    if not isinstance(value, int | float) or low <= value <= high:
        return ""
    return f"{low} or more" if high == math.inf else f"a number from {low} to {high}"


class _Parser(argparse.ArgumentParser):
    """argparse, except that it raises where it would end the program itself."""

    def error(self, message: str) -> typing.NoReturn:
        raise ConfigError(message, "see --help")


def _parser(config_class: type, prog: str | None) -> _Parser:
    doc = sys.modules[config_class.__module__].__doc__ if prog is None else None
    main = sys.modules.get("__main__")
    parser = _Parser(
        prog=prog,
        description=getattr(main, "__doc__", None) or doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        exit_on_error=False,
    )
    hints = typing.get_type_hints(config_class)
    for field in option_fields(config_class):
        _add_flag(parser, field, hints[field.name])
    return parser


def _add_flag(parser: _Parser, field: dataclasses.Field, hint: Any) -> None:
    meta = field.metadata
    flag = "--" + field.name.replace("_", "-")
    spellings = dict.fromkeys([flag, "--" + field.name, *meta["aliases"]])
    if hint in (bool, bool | None):
        group = parser.add_mutually_exclusive_group()
        default = "" if field.default is None else f" (default: {'on' if field.default else 'off'})"
        shown = meta["help"] + default
        off = dict.fromkeys(["--no-" + field.name.replace("_", "-"), *meta["off_aliases"]])
        group.add_argument(*spellings, dest=field.name, action="store_true", default=argparse.SUPPRESS, help=shown)
        group.add_argument(
            *off, dest=field.name, action="store_false", default=argparse.SUPPRESS, help=f"switch off {flag}"
        )
        return
    kind, many = _value_type(hint)
    keywords: dict[str, Any] = {
        "dest": field.name,
        "default": argparse.SUPPRESS,  # the namespace holds what was given
        "type": kind,
        "metavar": kind.__name__.upper(),
    }
    if meta["choices"]:
        keywords["choices"] = meta["choices"]
        keywords.pop("metavar")
    if many:
        keywords["nargs"] = "+"
    elif meta["const"] is not None:
        keywords |= {"nargs": "?", "const": meta["const"]}
    default = " ".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    shown = meta["help"].replace("%", "%%") + (f" (default: {default})" if default not in (None, "") else "")
    parser.add_argument(*spellings, help=shown, **keywords)


def _value_type(hint: Any) -> tuple[type, bool]:
    """Return (type of one value, several allowed) of ``int``, ``str | None``, ``tuple[int, ...]`` or a union."""
    if isinstance(hint, types.UnionType):
        parts = [part for part in typing.get_args(hint) if part is not types.NoneType]
        hint = next((part for part in parts if typing.get_origin(part) is tuple), parts[0])
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], True
    return hint, False


def _counts(hint: Any) -> list[int]:
    """Return how many values ``tuple[int] | tuple[int, int]`` may have; nothing where any number may be given."""
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    lengths = [typing.get_args(part) for part in parts if typing.get_origin(part) is tuple]
    counts = [len(values) for values in lengths if Ellipsis not in values]
    return [1, *counts] if _may_be_one(hint) else counts


def _may_be_one(hint: Any) -> bool:
    """Return whether an option of several values may be a single one, as in ``int | tuple[int, int]``."""
    parts = [part for part in typing.get_args(hint) if part is not types.NoneType]
    are_tuples = [typing.get_origin(part) is tuple for part in parts]
    return isinstance(hint, types.UnionType) and any(are_tuples) and not all(are_tuples)
