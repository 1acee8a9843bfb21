"""The parser of a command line: a flag for every option, and help that shows them by group."""

import argparse
import dataclasses
import shutil
import sys
import textwrap
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from utils.errors import ConfigError
from utils.option_types import Worded, value_type


class Parser(argparse.ArgumentParser):
    """argparse, except that it raises where it would end the program itself."""

    def error(self, message: str) -> typing.NoReturn:
        raise ConfigError(message, "see --help")


def build_parser(
    fields: Sequence[dataclasses.Field], hints: Mapping[str, Any], prog: str | None, about: str | None
) -> Parser:
    """Return a parser whose namespace holds what was given; help shows the options by group, each where it began."""
    places = [f"[{_place(field)} …]" for field in fields if field.metadata["is_argument"]]
    parser = Parser(
        prog=prog or _module(),
        usage=" ".join(
            ["%(prog)s [options]", *places]
        ),  # all flags would be two dozen lines in front of what they mean
        description=_fitted(about or "", shutil.get_terminal_size().columns),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        exit_on_error=False,
    )
    groups = {}
    for field in fields:
        title = field.metadata["group"]
        if title and title not in groups:
            groups[title] = parser.add_argument_group(title)
        _add_flag(groups.get(title, parser), field, hints[field.name])
    return parser


def _fitted(about: str, width: int) -> str:
    """Wrap sentences; ``command   # what it does`` has the comment above where one of them is wider than the terminal.

    A command stays on its line, whatever its length: it is there to be copied.
    """
    if all(len(line) <= width for line in about.splitlines()):
        return about
    lines = []
    for line in about.splitlines():
        text, _, comment = line.partition("  # ")
        lines += [f"# {comment}"] if comment else []
        lines += [text.rstrip()] if text.startswith("python ") else textwrap.wrap(text, width) or [""]
    return "\n".join(lines)


def _module() -> str | None:
    """Return how a command that is a folder of ours is started, None for a script."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    own = spec is not None and spec.name.startswith("utils.") and spec.name.endswith(".__main__")
    return f"python -m {spec.parent}" if own else None


def _place(field: dataclasses.Field) -> str:
    return field.name.removesuffix("s").upper()


def _add_flag(parser: argparse._ActionsContainer, field: dataclasses.Field, hint: Any) -> None:
    meta = field.metadata
    if meta["is_argument"]:
        named = {"metavar": _place(field), "default": argparse.SUPPRESS, "help": meta["help"]}
        parser.add_argument(field.name, nargs="*", **named)
        return
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
    kind, many = value_type(hint)
    keywords: dict[str, Any] = {
        "dest": field.name,
        "default": argparse.SUPPRESS,  # the namespace holds what was given
        "type": Worded(kind, meta["words"]) if meta["words"] else kind,
        "metavar": kind.__name__.upper(),
    }
    if meta["choices"]:
        keywords["choices"] = meta["choices"]
        if not many:  # which would show them all twice, on a line that no terminal has the place for
            keywords.pop("metavar")
    if many:
        keywords["nargs"] = "+" if meta["const"] is None else "*"
    elif meta["const"] is not None:
        keywords |= {"nargs": "?", "const": meta["const"]}
    default = " ".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    choices = f": any of {', '.join(meta['choices'])}" if meta["choices"] and many else ""
    ends = "" if default in (None, "") else f" (default: {default})"
    shown = (meta["help"] + choices).replace("%", "%%") + ends
    parser.add_argument(*spellings, help=shown, **keywords)
