"""A message that names a flag can be followed: every command that can print it has the flag."""

import ast
import functools
import importlib
import re
from pathlib import Path

import pytest

from utils.config import parser_of
from utils.runs import ROOT

COMMANDS = {  # file → its config class
    "train.py": "utils.configs.train.TrainConfig",
    "val.py": "utils.configs.val.ValConfig",
    "detect.py": "utils.configs.detect.DetectConfig",
    "export.py": "utils.configs.export.ExportConfig",
    "benchmark.py": "utils.configs.benchmark.BenchmarkConfig",
    "models/yolo.py": "models.yolo.SummaryConfig",
    "utils/doctor/__main__.py": "utils.configs.doctor.DoctorConfig",
    "utils/report/__main__.py": "utils.configs.report.ReportConfig",
    "utils/checkpoint/__main__.py": "utils.configs.checkpoint.CheckpointConfig",
    "utils/dataset/split.py": "utils.configs.split.SplitConfig",
    "utils/dataset/convert.py": "utils.configs.convert.ConvertConfig",
}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
COMMAND = re.compile(r"[\w/]+\.py\b")
ONLY = {  # file, flag → the commands that call what raises there, where the file is imported by more
    ("models/backbones/_level_adapter.py", "--imgsz"): "train val detect export benchmark models/yolo",
    ("utils/backends/several.py", "--half"): "val detect",
    ("utils/backends/several.py", "--dnn"): "val detect",
    ("utils/backends/several.py", "--data"): "detect",
    ("utils/backends/several.py", "--weights"): "val detect",
    ("utils/backends/dnn.py", "--dnn"): "val detect",
    ("utils/checkpoint/convert.py", "--out"): "utils/checkpoint/__main__",
    ("utils/checkpoint/official_writer.py", "--half"): "utils/checkpoint/__main__",
    ("utils/checkpoint/official_writer.py", "--to"): "utils/checkpoint/__main__",
    ("export.py", "--int8"): "export",  # benchmark.py calls build_order alone
    ("utils/export/engine.py", "--include"): "export",
    ("utils/export/int8.py", "--half"): "export",
    ("utils/export/int8.py", "--int8"): "export",
    ("utils/export/int8.py", "--max-drop"): "export",
    ("utils/evaluation/inputs.py", "--single-cls"): "val",
    ("utils/detection/writers.py", "--project"): "val detect",
    ("utils/data/scan/class_selection.py", "--classes"): "train val",
    ("models/backbones/_user.py", "--backbone"): "train val detect export models/yolo",  # benchmark.py: --backbones
    ("utils/backends/exported.py", "--backbone"): "val detect export",
    ("utils/backends/pt.py", "--backbone"): "val detect export",
    ("utils/backends/pt.py", "--layout"): "val detect",  # the others give none
    ("utils/checkpoint/output_layout.py", "--layout"): "val detect",  # benchmark.py opens files of ours, which tell it
    ("utils/device.py", "--device"): "train val detect benchmark models/yolo",
    ("utils/training/checkpointing.py", "--batch-size"): "train",
    ("utils/training/checkpointing.py", "--checkpointing"): "train",
    ("utils/training/inputs.py", "--checkpointing"): "train",
    ("utils/training/inputs.py", "--compile"): "train",
    ("utils/training/compiling.py", "--compile"): "train",
    ("utils/training/inputs.py", "--sync-bn"): "train",
    ("utils/imgsz.py", "--imgsz"): "train val detect export benchmark models/yolo utils/doctor/__main__",
    ("utils/loggers/__init__.py", "--logger"): "train",
    ("utils/training/inputs.py", "--log-weights"): "train",
    ("utils/training/inputs.py", "--logger"): "train",
    ("utils/training/inputs.py", "--noautoanchor"): "train",
    ("utils/training/freeze.py", "--freeze"): "train",
    ("utils/training/fitness.py", "--fitness"): "train",
    ("utils/training/hyp.py", "--label-smoothing"): "train",
    ("utils/training/inputs.py", "--freeze"): "train",
    ("utils/training/inputs.py", "--unfreeze-epoch"): "train",
    ("utils/training/inputs.py", "--weights"): "train",
    ("utils/training/multi_scale.py", "--multi-scale"): "train",
    ("utils/training/resume.py", "--resume"): "train",
    ("utils/training/inputs.py", "--quad"): "train",
    ("utils/training/inputs.py", "--rect"): "train",
    ("utils/training/start.py", "--backbone"): "train",
    ("utils/training/start.py", "--noautoanchor"): "train",
    ("utils/training/start.py", "--weights"): "train",
    ("utils/detection/annotations.py", "--save-labelme"): "detect",
    ("utils/detection/classes.py", "--class-conf"): "detect",
    ("utils/detection/features.py", "--visualize"): "detect",
    ("utils/detection/video.py", "--nosave"): "detect",
    ("export.py", "--include"): "export",  # benchmark.py calls build_order alone
    ("utils/export/graph.py", "--dynamic"): "export",
    ("utils/export/graph.py", "--opset"): "export",
    ("utils/runs.py", "--name"): "train val detect benchmark",
    ("utils/runs.py", "--project"): "train val detect benchmark",
    ("utils/runs.py", "--weights"): "val detect export",
}


def module_path(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@functools.cache
def imported(path: Path) -> set[Path]:
    """Return the files of ours that a file imports, anywhere in it; one that imports by name imports its folder."""
    text = path.read_text(encoding="utf-8")
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    found = {file for name in names if (file := module_path(name))}
    by_name = re.search(r"import_module\(f\"(utils|models)|import_plugins\(sys", text)
    return found | (set(path.parent.glob("*.py")) if by_name else set())


def reachable(script: str) -> set[Path]:
    seen, waiting = set(), [ROOT / script]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting.extend(imported(path))
    return seen


@functools.cache
def flags_of(command: str) -> set[str]:
    module, _, name = COMMANDS[command].rpartition(".")
    config = getattr(importlib.import_module(module), name)
    return {flag for action in parser_of(config, command)._actions for flag in action.option_strings}


def errors(path: Path):
    """Yield (line, text) of every string in the construction of an error."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("Error"):
            for argument in ast.walk(node):
                if isinstance(argument, ast.JoinedStr):
                    parts = [part.value if isinstance(part, ast.Constant) else "…" for part in argument.values]
                    yield node.lineno, "".join(parts)
                elif isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield node.lineno, argument.value


def asked_for(text: str, by: set[str]) -> set[tuple[str, str]]:
    """Return (command, flag) for the flags in ``text``: of the command named before them, else of every one ``by``."""
    start, *rest = re.split(f"({COMMAND.pattern})", text)
    pairs = {(command, flag) for flag in FLAG.findall(start) for command in by}
    return pairs | {(rest[at], flag) for at in range(0, len(rest), 2) for flag in FLAG.findall(rest[at + 1])}


def test_a_flag_belongs_to_the_command_that_is_named_before_it():
    assert asked_for("give --a, or export.py --b-c", {"val.py"}) == {("val.py", "--a"), ("export.py", "--b-c")}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_in_an_error_exists_in_every_command_that_can_print_it(command):
    wrong = []
    for path in sorted(reachable(command)):
        file = path.relative_to(ROOT).as_posix()
        for line, text in errors(path):
            for asked, flag in asked_for(text, {command}):
                prints = command.removesuffix(".py") in ONLY.get((file, flag), command.removesuffix(".py")).split()
                if prints and flag not in flags_of(asked):
                    wrong.append(f"{file}:{line}: {asked} has no {flag}: {text!r}")
    assert not wrong, "\n".join(wrong)
