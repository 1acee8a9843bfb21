"""Every refusal says how to mend what it refuses."""

import ast
import inspect

import pytest

from utils import errors
from utils.runs import ROOT

KINDS = {name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, errors.UserError)}
SOURCES = sorted(
    path
    for path in [*ROOT.glob("*.py"), *ROOT.glob("models/**/*.py"), *ROOT.glob("utils/**/*.py")]
    if path != ROOT / "utils" / "errors.py" and "__pycache__" not in path.parts
)


def is_empty(fix: ast.expr | None) -> bool:
    """True for no fix, "", and a choice that may be ""."""
    if isinstance(fix, ast.IfExp):
        return is_empty(fix.body) or is_empty(fix.orelse)
    if isinstance(fix, ast.BoolOp):
        return is_empty(fix.values[-1])
    return fix is None or (isinstance(fix, ast.Constant) and not fix.value)


def without_fix(tree: ast.AST) -> list[int]:
    """Return the lines where an error of the user is made without a fix."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS:
            spread = any(isinstance(argument, ast.Starred) for argument in node.args)
            given = [keyword.value for keyword in node.keywords if keyword.arg == "fix"] + node.args[1:2]
            if not spread and is_empty(given[0] if given else None):
                lines.append(node.lineno)
    return lines


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("raise ConfigError(what)", 1),
        ("raise ConfigError(what, '')", 1),
        ("raise ConfigError(what, fix if a else '')", 1),
        ("raise ConfigError(what, hint or '')", 1),
        ("raise ConfigError(what, fix='')", 1),
        ("error = DataError(what)", 1),
        ("raise ConfigError(what, 'do this')", 0),
        ("raise ConfigError(what, fix)", 0),
        ("raise ConfigError(what, fix=hint or 'see --help')", 0),
        ("raise ConfigError(*parts)", 0),
        ("raise ValueError(what)", 0),
    ],
)
def test_what_counts_as_a_fix(code, count):
    assert len(without_fix(ast.parse(code))) == count


def test_every_refusal_has_a_fix():
    lines = {
        path.relative_to(ROOT).as_posix(): without_fix(ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES
    }
    without = {file: numbers for file, numbers in lines.items() if numbers}

    assert not without, f"no fix on these lines: {without}"
