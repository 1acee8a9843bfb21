"""Declare an option once, as a field of a frozen dataclass; the command line and its help derive from it.

@dataclass(frozen=True)
class DetectConfig:
    weights: str = option("", help="weights file", aliases=("--weight",))
    save: bool = option(True, help="save drawn images", aliases=("--nosave",))
"""

import argparse
import dataclasses
import math
import os
import sys
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from utils.absent_flags import check_flag, check_value, is_left_out
from utils.bad_arguments import refused, unknown
from utils.errors import ConfigError
from utils.idle_options import Idle, check_idle
from utils.option_types import counts_of, may_be_one, value_type, word_value
from utils.parser import Parser, build_parser
from utils.registry import suggest

SEVERAL = ("evolve", "evolve_space", "storage", "study", "seeds")  # which trainings there are, not how one is done
SINGLE_CALL = (
    "resume",
    "config",
    "print_config",
    "dry_run",
    "show_aug",
    "local_rank",
    *SEVERAL,
)  # options that no file gives


def option(
    default: Any,
    *,
    help: str,
    aliases: tuple[str, ...] = (),
    const: Any = None,
    choices: tuple[Any, ...] | Mapping[str, Any] = (),
    low: float = -math.inf,
    high: float = math.inf,
    group: str = "",
) -> Any:
    """Return a dataclass field that is also a flag ``--field-name``.

    ``aliases`` are further spellings; those of a boolean that begin with ``--no`` switch it off (``--nosave``);
    ``const`` is the value of the flag without an argument (``--cache`` alone); a default of None tells what was not
    given. A number, or each of several, must lie from ``low`` to ``high``, or be what a word stands for: ``choices`` of
    a number is a mapping such as ``{"auto": -1}``. A field ``int | tuple[int, int]`` is a number where one is given.
    ``group`` is the title under which ``--help`` shows it.
    """
    off = tuple(flag for flag in aliases if isinstance(default, bool) and flag.startswith("--no"))
    aliases = tuple(flag for flag in aliases if flag not in off)
    words = choices if isinstance(choices, Mapping) else {}
    metadata = {"help": help, "aliases": aliases, "off_aliases": off, "const": const, "words": words}
    metadata |= {"choices": () if words else choices, "low": low, "high": high, "group": group, "is_argument": False}
    return dataclasses.field(default=default, metadata=metadata)


def arguments(*, help: str) -> Any:
    """Return a dataclass field ``tuple[str, ...]`` for what is typed without a flag, any number of times."""
    metadata = {**option((), help=help).metadata, "is_argument": True}
    return dataclasses.field(default=(), metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Given:
    """Base of a config that knows which of its options the user has given, and which of these only by ``--config``."""

    IDLE: typing.ClassVar[tuple[Idle, ...]] = ()  # options that do nothing beside others
    given: frozenset[str] = dataclasses.field(default=frozenset(), repr=False, compare=False)
    from_file: frozenset[str] = dataclasses.field(default=frozenset(), repr=False, compare=False)


def option_fields(config_class: Any) -> list[dataclasses.Field]:
    """Return the fields of a config class, or of an instance, that are options."""
    return [field for field in dataclasses.fields(config_class) if "help" in field.metadata]


def option_values(cfg: Any) -> dict[str, Any]:
    """Return the values of the options by name, without those of a single call."""
    return {field.name: getattr(cfg, field.name) for field in option_fields(cfg) if field.name not in SINGLE_CALL}


def typed_option(name: str, value: Any) -> list[str]:
    """Return an option as it is typed: its flag, and behind it its values, none for a switch."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", *map(str, value if isinstance(value, tuple) else (value,))]


def _filled(config_class: type, values: Mapping[str, Any]) -> Any:
    """Return an instance with the given values, else those of its ``config`` file, else the defaults."""
    file = read_options(config_class, values["config"]) if values.get("config") else {}
    origin = {"given": frozenset(file | values), "from_file": frozenset(file.keys() - values)}
    cfg = check_config(config_class(**file | values, **origin if issubclass(config_class, Given) else {}))
    if isinstance(cfg, Given):
        check_idle(cfg, cfg.IDLE)
    return cfg


def read_options(config_class: type, path: str) -> dict[str, Any]:
    """Return the options that a YAML file gives, as the ``opt.yaml`` of a run does.

    Those of a single call are passed over, and what is null where that is the default. Raises: ConfigError naming the
    file and the key, also for one that asks for several trainings.
    """
    from utils.yaml_file import read_yaml  # here, because --help should not wait for it

    names, hints = _names(config_class), typing.get_type_hints(config_class)
    fields = {field.name: field for field in option_fields(config_class)}
    text = [key for key, (name, _) in names.items() if fields[name].metadata["const"] is None]
    data = read_yaml(path, [key for key in text if value_type(hints[names[key][0]])[0] is str])
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: holds no options", "write one a line, as 'epochs: 100'; opt.yaml of a run is so")
    single = {key for key in data if key in names and names[key][0] in SINGLE_CALL}
    for key in single:
        if names[key][0] in SEVERAL and data[key]:  # YOLOv5's opt.yaml has "evolve: null"
            raise ConfigError(f"{path}: {key}: is for the command line alone", f"remove it there, and give --{key}")
    data = {str(key): value for key, value in data.items() if key not in single}
    try:
        for key in [key for key, value in data.items() if value is None and key in names]:
            if fields[names[key][0]].default is not None:
                raise ConfigError(f"{key} has no value", f"give one, or remove {key}")
            del data[key]
        values = _values(config_class, data)
        check_config(config_class(**values))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.what}", error.fix) from error
    return values


def parse_config(config_class: type, argv: Sequence[str], prog: str | None = None) -> Any:
    """Return an instance of the dataclass filled from ``argv``. Raises: ConfigError; SystemExit(0) after ``--help``."""
    parser = parser_of(config_class, prog)
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
    alone = {field.name: field.metadata["const"] for field in option_fields(config_class)}
    return _filled(config_class, {k: alone[k] if v == () and alone[k] else v for k, v in values.items()})


def make_config(config_class: type, options: Mapping[str, Any]) -> Any:
    """Return an instance of the dataclass from Python values, by the names of the flags or their other spellings.

    Raises: ConfigError for an unknown name, and for a value that the flag would not take.
    """
    return _filled(config_class, _values(config_class, options))


def _values(config_class: type, options: Mapping[str, Any]) -> dict[str, Any]:
    names, hints, command = _names(config_class), typing.get_type_hints(config_class), _command(config_class)
    values = {}
    for given, value in options.items():
        if is_left_out(command, given, value):
            continue
        if given not in names:
            check_flag(command, f"--{given}")
            raise ConfigError(
                f"unknown option {given!r}",
                suggest(given, names) or f"known: {', '.join(f.name for f in option_fields(config_class))}",
            )
        name, negated = names[given]
        if name in values:
            raise ConfigError(f"{given} is given twice, once as another name of it", "leave one of them out")
        value = _meant(config_class, name, value)
        values[name] = not value if negated else _fitting(name, value, hints[name])
    return values


def _names(config_class: type) -> dict[str, tuple[str, bool]]:
    """Return field and whether it is meant negatively (``noplots``) for every name that an option has."""
    names = {}
    for field in option_fields(config_class):
        for spelling in (field.name, *field.metadata["aliases"]):
            names[spelling.lstrip("-").replace("-", "_")] = field.name, False
        for spelling in field.metadata["off_aliases"]:
            names[spelling.lstrip("-").replace("-", "_")] = field.name, True
    return names


def _meant(config_class: type, name: str, value: Any) -> Any:
    """Return what a word of an option stands for, and ``True`` and ``False`` for one that can be a flag alone."""
    meta = next(field.metadata for field in option_fields(config_class) if field.name == name)
    const, value = meta["const"], word_value(meta["words"], value)
    return value if const is None or not isinstance(value, bool) else const if value else None


def _fitting(name: str, value: Any, hint: Any) -> Any:
    """Return a value in the type of its field. Raises: ConfigError."""
    kind, many = (bool, False) if hint in (bool, bool | None) else value_type(hint)
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
    return items[0] if len(items) == 1 and may_be_one(hint) else tuple(items)


def _command(config_class: type) -> str:
    return config_class.__name__.removesuffix("Config").lower()


def parser_of(config_class: type, prog: str | None) -> Parser:
    """Return the parser of a command; its help begins with the docstring of the script."""
    doc = sys.modules[config_class.__module__].__doc__ if prog is None else None
    about = getattr(sys.modules.get("__main__"), "__doc__", None) or doc
    return build_parser(option_fields(config_class), typing.get_type_hints(config_class), prog or _module(), about)


def _module() -> str | None:
    """Return how a folder of ours is started as a command, None for a script, whose name is that of its file."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    name = spec.name.removesuffix(".__main__") if spec else ""
    return f"python -m {name}" if name.startswith("utils.") else None


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
        values, counts = given if isinstance(given, tuple) else (given,), counts_of(hints[field.name])
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
    words = field.metadata["words"]
    if not isinstance(value, int | float) or low <= value <= high or value in words.values():
        return ""
    return " or ".join([f"{low} or more" if high == math.inf else f"a number from {low} to {high}", *words])
