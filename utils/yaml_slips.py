"""The usual slips in a YAML file: what the parser says where it gave up, turned into what to do about it."""

import re

import yaml

from utils.text import shorten

OTHERWISE = "correct the YAML there"
COLONS = re.compile("could not find expected ':'|mapping values are not allowed|expected '<document start>'")
GLUED = re.compile(r"\s*(?:- )?([\w.-]+)(?::(?![\s/\\])|：\s*)(\S.*)")  # nc:80, also with the Chinese colon
SLIPS = {  # in the context and problem of the parser → what to do
    "escape character": r"inside double quotes \ starts an escape; use single quotes, or / between folders",
    "quoted scalar": "close the quote that opens in line {start}",
    "parsing a flow": "a list in brackets needs commas between its entries, the closing bracket, and quotes around a "
    "text that has a quote, a comma, a colon or # in it",
    "expected '?<(block end|document start)>": "begin all lines of one list or mapping in the same column",
    "stands twice": "remove one of the two",
    "U\\+": "indent with plain spaces",
    "another document": "remove the line ---: a file holds one document",
    "cannot start any token|constructor for the tag": "put the value in quotes",
    "scanning an (alias|anchor)|undefined alias": "put the value in quotes: * and & have a meaning in YAML",
}


def explain(error: yaml.MarkedYAMLError, text: str) -> tuple[str, str]:
    """Return what is wrong in ``text``, with line and column in front (``3:1: …``), and what to do about it."""
    mark = error.problem_mark or error.context_mark
    problem = str(error.problem or error.context)
    if mark is None:
        return problem, OTHERWISE
    place = f"{mark.line + 1}:{mark.column + 1}"
    if r"'\t'" in problem:
        return f"{place}: a tab, which YAML does not take here", "use spaces"
    start = (error.context_mark or mark).line
    fix = _about_colon(text.splitlines(), start, mark) if COLONS.search(problem) else ""
    if not fix:
        said = f"{error.context} {problem}"
        fix = next((fix for sign, fix in SLIPS.items() if re.search(sign, said)), OTHERWISE).format(start=start + 1)
    return f"{place}: {problem}", fix


def glued_colon(line: str) -> str:
    """Return what to do about ``nc:80``, which is no key with a value; empty for any other line."""
    found = GLUED.fullmatch(line)
    return f"put a space behind the colon: {found[1]}: {shorten(found[2])}" if found else ""


def _about_colon(lines: list[str], start: int, mark: yaml.Mark) -> str:
    """Return what to do if a colon is missing in the line ``start``, or is one too many at ``mark``; else nothing."""
    indent = None
    if start == mark.line:  # what is in front of the colon is no key, because it began earlier
        if ": " in lines[start][: mark.column]:
            return "put the value in quotes: it has a colon in it"
        indent = _indent(lines[start])
        start = max((n for n in range(start) if lines[n].strip() and lines[n].lstrip()[0] != "#"), default=start)
    line = lines[start]
    if fix := glued_colon(line):
        return f"in line {start + 1} {fix}"
    if ":" not in line:
        return f"write line {start + 1} as 'key: value', or as '- entry' in a list"
    if indent is not None and indent > _indent(line):
        return f"begin it in the same column as line {start + 1}, which has its value already"
    return ""


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
