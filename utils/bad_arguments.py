"""Say in one sentence what is wrong with a command line, and how to mend it."""

import argparse
import re
from collections.abc import Mapping, Sequence

from utils.absent_flags import check_flag, check_value
from utils.errors import ConfigError
from utils.registry import suggest

NUMBERS = {int: "whole number", float: "number"}
DASHES = "-‐‑‒–—−"  # what a text processor makes of a hyphen too
INVALID = re.compile(r"invalid \w+(?: value)?: (.*?)(?: \(choose from .*)?", re.DOTALL)


def refused(known: Mapping[str, argparse.Action], argv: Sequence[str], error: argparse.ArgumentError) -> ConfigError:
    """Return what is wrong with the value of a flag, or with two flags. Raises: ConfigError for a value of YOLOv5's."""
    action = known[str(error.argument_name).split("/")[0]]
    given = list(dict.fromkeys(name for name in map(_name, argv) if name in known and known[name].dest == action.dest))
    flag = next((name for name in reversed(given) if known[name] is action), action.option_strings[0])
    if action.nargs == 0:
        if len({id(known[name]) for name in given}) > 1:
            return ConfigError(f"{' and '.join(given)} contradict each other", "give one of them")
        return _no_value(known, flag)
    invalid = INVALID.fullmatch(error.message)
    value = invalid[1].strip("'\"") if invalid else ""
    if not value:
        return ConfigError(f"{flag} has no value", f"write it behind {flag}, or leave the flag out")
    if "--" + _name(value) in known and "=" in value:  # behind a flag that takes several values
        return ConfigError(f"unexpected argument {value!r}", f"write it as --{value.replace('=', ' ', 1)}")
    check_value(action.dest, value)
    if action.choices:
        return ConfigError(f"{flag} {value} is not possible", f"give {' or '.join(map(str, action.choices))}")
    kind = getattr(action.type, "kind", action.type)
    words = getattr(action.type, "words", ())
    return ConfigError(
        f"{flag} {value} is not a {NUMBERS[kind]}", " or ".join([_number_fix(action, kind, value), *words])
    )


def unknown(known: Mapping[str, argparse.Action], argv: Sequence[str], given: str, command: str) -> ConfigError:
    """Return what is wrong with an argument that the parser did not take. Raises: ConfigError for YOLOv5's flags."""
    name, _, value = given.partition("=")
    plain = "--" + name.lstrip(DASHES)
    if given.startswith("-"):
        check_flag(command, given)
        starts = [flag for flag in known if flag.startswith(given) and "_" not in flag]
        return ConfigError(
            f"unknown argument {given!r}", f"it could be {' or '.join(starts)}" if starts else _alike(known, plain)
        )
    if plain in known and name != plain[2:]:
        return ConfigError(f"unexpected argument {given!r}", f"type two plain hyphens: {plain}")
    if plain in known and value:
        return ConfigError(f"unexpected argument {given!r}", f"write it as {plain} {value}")
    before = [argument for argument in argv[: _surplus(known, argv, given)] if argument.startswith("--")]
    if not before:
        return ConfigError(f"unexpected argument {given!r}", "see --help")
    flag = _name(before[-1])
    if known[flag].nargs == 0:
        return _no_value(known, flag, given)
    if known[flag].nargs in ("+", "*"):
        fix = f"write {before[-1].replace('=', ' ', 1)} {given}"
        return ConfigError(f"{before[-1]} is one value, and {given!r} is one more", fix)
    fix = "put text with spaces, or with * or ? in it, in quotes"
    if known[flag].dest == "weights":
        fix = "give one file; val.py and detect.py alone take several, as an ensemble"
    elif given.isdecimal():
        fix = "give one number"
    return ConfigError(f"{flag} takes one value, and {given!r} is one more", fix)


def _name(argument: str) -> str:
    return argument.partition("=")[0]


def _no_value(known: Mapping[str, argparse.Action], flag: str, value: str = "") -> ConfigError:
    """Return what is wrong with a value behind a flag that is on or off."""
    opposite = next(
        (name for name, other in known.items() if other.dest == known[flag].dest and other is not known[flag]), ""
    )
    fix = f"give {flag} alone" + (f", or {opposite} for the opposite" if opposite else "")
    return ConfigError(f"{flag} takes no value" + (f", and {value!r} is one" if value else ""), fix)


def _number_fix(action: argparse.Action, kind: type, value: str) -> str:
    parts = value.strip("[]()").replace(",", " ").split()
    if action.nargs and len(parts) > 1:
        return f"put spaces between the numbers, and nothing else: {' '.join(parts)}"
    if kind is float and value.count(",") == 1:
        return f"write a decimal point: {value.replace(',', '.')}"
    return f"give {NUMBERS[kind]}s" if action.nargs else f"give one {NUMBERS[kind]}"


def _surplus(known: Mapping[str, argparse.Action], argv: Sequence[str], given: str) -> int:
    """Return the place of ``given`` where it is no value of the flag in front of it."""
    places = [place for place, argument in enumerate(argv) if argument == given]
    flags = [known.get(argv[place - 1]) if place else None for place in places]
    return next((place for place, flag in zip(places, flags, strict=True) if not flag or flag.nargs == 0), places[0])


def _alike(known: Mapping[str, argparse.Action], flag: str) -> str:
    names = [name[2:] for name in known if "_" not in name]
    return suggest(flag[2:].replace("_", "-"), names, prefix="--") or "see --help"
