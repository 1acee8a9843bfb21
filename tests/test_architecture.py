"""The floors of ARCHITECTURE.md, the sizes of STYLE.md, and what no file may do."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path
    for path in [
        *ROOT.glob("*.py"),
        *ROOT.glob("models/**/*.py"),
        *ROOT.glob("utils/**/*.py"),
        *ROOT.glob("tools/*.py"),
    ]
    if "__pycache__" not in path.parts
)
MAX_FILE_LINES, MAX_FUNCTION_LINES = 300, 50

FLOORS = {  # a prefix of the dotted module name → its floor; the longest prefix counts
    "utils.errors": -1,
    "utils": 0,
    "models": 1,
    "utils.data": 1,
    "utils.losses": 1,
    "utils.metrics": 1,
    "utils.loggers": 1,
    "utils.plots": 1,
    "utils.checkpoint": 2,
    "utils.configs": 2,
    "utils.checkpoint.__main__": 3,
    "utils.export": 3,
    "utils.backends": 3,
    "utils.detection": 3,
    "utils.evaluation": 4,
    "utils.doctor": 4,
    "utils.report": 4,
    "utils.training": 5,
    "utils.dataset": 5,
    "utils.benchmark": 6,
    "utils.search": 6,
    "utils.hub": 7,
}
SCRIPT_FLOOR = 8
DOORS = {"utils"}  # ``from utils import load``, for programs of users; it stands above all that it leads to
CONFIG_TYPES_FLOOR = 3
INSIDE_MODELS = {  # models.x may import these parts of models
    "registry": set(),
    "layers": {"registry", "layers"},
    "heads": {"registry", "layers", "heads"},
    "backbones": {"registry", "layers", "backbones"},
    "common": {"layers", "heads", "registry"},
    "dialects": {"registry"},
    "keys": {"registry", "dialects"},
    "scales": set(),
    "parse": {"registry", "layers", "heads", "backbones", "dialects", "keys", "scales"},
    "wiring": {"registry", "layers", "dialects", "parse"},
    "build": {"registry", "layers", "parse", "wiring"},
    "report": {"registry", "backbones", "build"},
    "summary": {"build"},
    "detector": {"registry", "dialects", "keys", "layers", "backbones", "parse", "wiring", "build", "report"},
    "swap": {"registry", "keys", "dialects", "backbones", "parse", "build", "detector"},
    "tta": {"detector"},
    "yolo": {"parse", "scales", "report", "summary", "detector", "swap"},
}
# ids of the code objects that may never be called, whatever they are called on
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "breakpoint", "print"}
FORBIDDEN_ATTRIBUTES = {
    ("pickle", "load"),
    ("pickle", "loads"),
    ("pickle", "Unpickler"),
    ("os", "system"),
    ("os", "popen"),
}
MAY_PRINT = {"utils/command.py"}
NOT_ON_WINDOWS = {"fcntl", "grp", "posix", "pwd", "resource", "termios"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_and_floor(module: str) -> tuple[str, int]:
    """Return the unit that siblings must not import (``utils.data``, ``models``, …) and its floor."""
    matches = [prefix for prefix in FLOORS if module == prefix or module.startswith(prefix + ".")]
    if not matches or module in DOORS:
        return module, SCRIPT_FLOOR
    best = max(matches, key=len)
    return best, FLOORS[best]


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports(tree: ast.AST) -> tuple[str, ...]:
    return tuple(_imports(tree))


def _imports(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_imports_go_down_the_floors():
    upwards = []
    for path in SOURCES:
        unit, floor = package_and_floor(module_name(path))
        for name in imports(parsed(path)):
            if not name.startswith(("utils", "models")):
                continue
            other_unit, other_floor = package_and_floor(name)
            if not (other_floor < floor or other_unit == unit or floor == SCRIPT_FLOOR):
                upwards.append(f"{shown(path)}: {unit} imports {name}")
    assert not upwards, upwards


def test_parts_of_models_import_downwards():
    upwards = []
    for path in SOURCES:
        parts = module_name(path).split(".")
        if parts[0] != "models" or len(parts) < 2 or parts[1] not in INSIDE_MODELS:
            continue
        for name in imports(parsed(path)):
            other = name.split(".")
            if other[0] == "models" and other[1:2] not in ([], [parts[1]]) and other[1] not in INSIDE_MODELS[parts[1]]:
                upwards.append(f"{shown(path)} imports {name}")
    assert not upwards, upwards


def test_every_part_of_models_is_watched():
    parts = {module_name(path).split(".")[1] for path in SOURCES if module_name(path).startswith("models.")}

    assert parts == set(INSIDE_MODELS)


def test_no_modules_import_each_other_in_a_circle_not_even_inside_functions():
    modules = {module_name(path): path for path in SOURCES}
    below = {
        module: {name for name in imports(parsed(path)) if name in modules} - {module}
        for module, path in modules.items()
    }

    while leaves := {module for module, names in below.items() if not names}:  # who imports nothing that is left
        below = {module: names - leaves for module, names in below.items() if module not in leaves}

    assert below == {}, "circles, and what imports them"


def test_every_module_can_be_imported_on_windows():
    bound = {}
    for path in SOURCES:
        at_import = [node for node in parsed(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
        if names := NOT_ON_WINDOWS & set(imports(ast.Module(at_import, []))):
            bound[shown(path)] = names
    assert not bound, bound


def test_config_types_stay_on_the_upper_floors():
    below = {}
    for path in SOURCES:
        _, floor = package_and_floor(module_name(path))
        names = {name.split(".")[-1] for name in imports(parsed(path))}
        configs = {name for name in names if name.endswith("Config") and name not in {"AugmentConfig"}}
        if configs and floor < CONFIG_TYPES_FLOOR:
            below[shown(path)] = configs
    assert not below, below


def test_files_and_functions_are_short():
    long = {}
    for path in SOURCES:
        if (length := len(path.read_text(encoding="utf-8").splitlines())) > MAX_FILE_LINES:
            long[shown(path)] = length
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    long[f"{shown(path)}:{node.lineno} {node.name}"] = length
    assert not long, f"lines: {long}"


def forbidden(path: Path, node: ast.Call):
    """Yield what a call executes or unpickles."""
    match node.func:
        case ast.Name(id=name) if name in FORBIDDEN_CALLS:
            prints = shown(path) in MAY_PRINT or path.parent.name == "tools"
            if name != "print" or not prints:
                yield f"{name}()"
        case ast.Attribute(value=ast.Name(id=owner), attr=name) if (owner, name) in FORBIDDEN_ATTRIBUTES:
            yield f"{owner}.{name}()"
    for keyword in node.keywords:
        value = getattr(keyword.value, "value", None)
        if (keyword.arg, value) in {("weights_only", False), ("shell", True), ("allow_pickle", True)}:
            yield f"{keyword.arg}={value}"


def test_nothing_is_executed_from_strings_or_unpickled():
    found = [
        f"{shown(path)}:{node.lineno} {what}"
        for path in SOURCES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        for what in forbidden(path, node)
    ]
    assert not found, found


def test_every_module_says_what_it_owns():
    silent = [shown(path) for path in SOURCES if not ast.get_docstring(parsed(path)) and parsed(path).body]
    assert not silent, f"no module docstring: {silent}"


PROBE = """
import importlib, os, random, signal, sys, threading
import cv2, matplotlib.figure, numpy, onnxruntime, onnxscript.optimizer, timm, torch, torchvision  # theirs, not ours
import ncnn, openvino

def state():
    yield dict(os.environ)
    yield os.getcwd(), sorted(os.listdir('.'))
    yield random.getstate(), str(numpy.random.get_state()), torch.get_rng_state().tolist()
    yield torch.get_num_threads(), cv2.getNumThreads(), threading.active_count()
    yield matplotlib.get_backend(auto_select=False), signal.getsignal(signal.SIGINT)
    yield torch.is_grad_enabled(), torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled()
    yield list(sys.path)

before = list(state())
for name in sys.argv[1:]:
    importlib.import_module(name)
for old, new in zip(before, state()):
    assert old == new, (str(old)[:200], str(new)[:200])
"""


def test_importing_changes_nothing_in_the_process(tmp_path):
    modules = [module_name(path) for path in SOURCES if path.parent.name != "tools"]
    result = subprocess.run(
        [sys.executable, "-c", PROBE, *modules],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout == "", "importing printed something"
