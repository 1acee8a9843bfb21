"""The scripts of tools/ are run by hand, and seldom: what they import from us has to be there still."""

import ast
import importlib

import pytest

from utils.runs import ROOT

SCRIPTS = sorted((ROOT / "tools").glob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_what_a_script_imports_is_there(path):
    found = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in found if node.module.partition(".")[0] in ("models", "utils")]
    missing = [
        f"{node.module}.{name.name}"
        for node in ours
        for name in node.names
        if not hasattr(importlib.import_module(node.module), name.name)
    ]
    assert ours and not missing
