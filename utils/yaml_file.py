"""Read and write YAML files as plain data: no tags, no duplicate keys, bounded size; errors name file and line."""

import re
from pathlib import Path
from typing import Any

import yaml

from utils.errors import ConfigError
from utils.runs import write_text

MAX_BYTES = 1_000_000
MAX_DEPTH = 64
MAX_NODES = 200_000  # aliases counted each time that they are expanded


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads ``1e-3`` as a number, as YAML 1.2 does, and refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else str(key_node.start_mark)
            line = key_node.start_mark.line + 1
            if key in seen and key != "<<":
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} stands twice (first in line {seen[key]})", problem_mark=key_node.start_mark
                )
            seen[key] = line
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(  # a copy of the table is made for _Loader, PyYAML's own loaders stay as they are
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_yaml(path: str | Path) -> Any:
    """Return the content of a YAML file as dicts, lists, strings, numbers, booleans and None.

    Raises: ConfigError naming file, line and column.
    """
    path = Path(path)
    return parse_yaml(read_text(path), source=str(path))


def read_text(path: Path) -> str:
    """Return a small UTF-8 text file. Raises: ConfigError when it is missing, too large or not text."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file", "check the path; relative paths start at the current folder")
    if path.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{path}: {path.stat().st_size} bytes are too many for a YAML file (limit {MAX_BYTES})")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})", "save the file as UTF-8") from error


def parse_yaml(text: str, source: str) -> Any:
    """Return the plain data of a YAML text; ``source`` is named in errors."""
    try:
        node = yaml.compose(text, Loader=_Loader)
        _check_size(node, source)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ConfigError(f"{place}: {error.problem or error.context}", "correct the YAML there") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: {error}", "correct the YAML there") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: nested deeper than {MAX_DEPTH} levels") from error


def _check_size(root: yaml.Node | None, source: str) -> None:
    """Walk the node graph, counting aliases at every use. Raises: ConfigError for a bomb or a cycle."""
    count, stack = 0, [(root, 1)]
    while stack:
        node, depth = stack.pop()
        count += 1
        if count > MAX_NODES or depth > MAX_DEPTH:
            raise ConfigError(f"{source}: more than {MAX_NODES} values or nested deeper than {MAX_DEPTH} levels")
        if isinstance(node, yaml.MappingNode):
            stack += [(child, depth + 1) for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            stack += [(child, depth + 1) for child in node.value]


def write_yaml(path: str | Path, data: Any) -> None:
    """Write plain data, atomically, keeping the order of keys."""
    write_text(path, yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
