"""Read and write YAML files as plain data: no tags, no duplicate keys, bounded size; errors name file and line.

What a value is follows from where it stands. The values of the keys that the caller names as text stay as they were
written (``007``, ``1e3``, ``no``, ``3.10``); elsewhere numbers are decimal and nothing is taken for a time or a date.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from utils.errors import ConfigError
from utils.runs import write_text
from utils.yaml_slips import explain, glued_colon

MAX_BYTES = 1_000_000
MAX_DEPTH = 64
MAX_NODES = 200_000  # aliases counted each time that they are expanded
MAX_DIGITS = 100  # of a whole number
TAG = "tag:yaml.org,2002:"
GUESSED = {TAG + kind for kind in ("bool", "int", "float", "null", "timestamp", "value", "merge")}


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
            if isinstance(key_node, yaml.ScalarNode) and not key_node.style and (odd := re.match(r"\s", key)):
                problem = f"a space that YAML takes for a letter, U+{ord(odd[0]):04X}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            seen[key] = line
        return super().construct_mapping(node, deep=deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float | str:
        """Return a number: decimal also with zeros in front, but a time such as ``12:30`` is a text."""
        text = node.value.replace("_", "")
        if ":" in text:
            return node.value
        if len(text) > MAX_DIGITS:
            raise yaml.MarkedYAMLError(problem=f"a number of {len(text)} digits", problem_mark=node.start_mark)
        if node.tag == TAG + "float":
            return self.construct_yaml_float(node)
        return int(text, 0 if text.lstrip("+-")[:2].lower() in ("0x", "0b") else 10)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes a text which ``_Loader`` would take for something else."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar(TAG + "str", text, style='"' if "\x85" in text else None)  # a line break to YAML


for kind in (_Loader, _Dumper):  # a copy of the table is made for each, PyYAML's own stay as they are
    kind.add_implicit_resolver(
        TAG + "float", re.compile(r"^[-+]?(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )
    kind.add_implicit_resolver(TAG + "int", re.compile(r"^[-+]?\d+$"), list("-+0123456789"))  # 08 too
_Dumper.add_representer(str, _Dumper.represent_text)
_Loader.add_constructor(TAG + "int", _Loader.construct_number)
_Loader.add_constructor(TAG + "float", _Loader.construct_number)
_Loader.add_constructor(TAG + "timestamp", _Loader.construct_yaml_str)


def read_yaml(path: str | Path, text_keys: Collection[str] = ()) -> Any:
    """Return the content of a YAML file as dicts, lists, strings, numbers, booleans and None.

    What stands below the top-level ``text_keys`` is text as written, except what is empty; where the whole value of
    such a key is ``null`` or ``~``, it is None. Raises: ConfigError naming file, line and column.
    """
    path = Path(path)
    return parse_yaml(read_text(path), source=str(path), text_keys=text_keys)


def read_text(path: Path) -> str:
    """Return a small UTF-8 text file. Raises: ConfigError when it is missing, too large or not text."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file", "check the path; relative paths start at the current folder")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError(f"{path}: {size} bytes are too many for a YAML file (limit {MAX_BYTES})", "shorten it")
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})", "check its permissions") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        kind = "looks like UTF-16" if b"\0" in content else f"byte 0x{content[error.start]:02x}"
        raise ConfigError(f"{path}:{line}: not UTF-8 text ({kind})", "save the file as UTF-8") from error


def parse_yaml(text: str, source: str, text_keys: Collection[str] = ()) -> Any:
    """Return the plain data of a YAML text; ``source`` is named in errors."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        _check_nodes(node, source)
        if isinstance(node, yaml.ScalarNode) and (fix := glued_colon(text.splitlines()[node.start_mark.line])):
            raise ConfigError(f"{source}:{node.start_mark.line + 1}: no key with a value", fix)
        if isinstance(node, yaml.MappingNode):
            node = _keep_text(node, text_keys)
        return None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        what, fix = explain(error, text)
        raise ConfigError(f"{source}:{what}", fix) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{source}:{line}: character U+{error.character:04X} is no text", "remove it") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: {error}", "correct the YAML there") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: nested deeper than {MAX_DEPTH} levels", "write it flatter") from error


def _check_nodes(root: yaml.Node | None, source: str) -> None:
    """Walk the node graph, counting aliases at every use. Raises: ConfigError for a bomb, a cycle, half a character."""
    count, stack = 0, [(root, 1)]
    while stack:
        node, depth = stack.pop()
        count += 1
        if count > MAX_NODES or depth > MAX_DEPTH:
            what = f"more than {MAX_NODES} values or nested deeper than {MAX_DEPTH} levels"
            raise ConfigError(f"{source}: {what}", "shorten it")
        if isinstance(node, yaml.MappingNode):
            stack += [(child, depth + 1) for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            stack += [(child, depth + 1) for child in node.value]
        elif isinstance(node, yaml.ScalarNode) and re.search("[\ud800-\udfff]", node.value):
            raise ConfigError(f"{source}:{node.start_mark.line + 1}: half a character", r"correct the \u escape there")


def _keep_text(mapping: yaml.MappingNode, keys: Collection[str]) -> yaml.MappingNode:
    """Return a mapping in which the values of some keys are text; those that it takes over by ``<<`` too."""
    pairs = []
    for key, value in mapping.value:
        if key.tag == TAG + "merge":
            if isinstance(value, yaml.SequenceNode):
                parts = [_keep_text(part, keys) if isinstance(part, yaml.MappingNode) else part for part in value.value]
                value = yaml.SequenceNode(value.tag, parts, value.start_mark, value.end_mark)
            elif isinstance(value, yaml.MappingNode):
                value = _keep_text(value, keys)
        elif isinstance(key, yaml.ScalarNode) and key.value in keys and value.tag != TAG + "null":
            value = _as_text(value)
        pairs.append((key, value))
    return yaml.MappingNode(mapping.tag, pairs, mapping.start_mark, mapping.end_mark)


def _as_text(node: yaml.Node) -> yaml.Node:
    """Return a copy in which the type of no value has been guessed; an alias elsewhere keeps its own."""
    marks = node.start_mark, node.end_mark
    if isinstance(node, yaml.SequenceNode):
        return yaml.SequenceNode(node.tag, [_as_text(child) for child in node.value], *marks)
    if isinstance(node, yaml.MappingNode):
        return yaml.MappingNode(node.tag, [(key, _as_text(value)) for key, value in node.value], *marks)
    tag = TAG + "str" if node.tag in GUESSED and node.value else node.tag
    return yaml.ScalarNode(tag, node.value, *marks)


def write_yaml(path: str | Path, data: Any) -> None:
    """Write plain data, atomically, keeping the order of keys; ``read_yaml`` gives them back."""
    write_text(path, yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True))
