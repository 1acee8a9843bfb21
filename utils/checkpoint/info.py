"""Say in a few lines what a weights file holds; nothing of it is run."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from utils.checkpoint.content import Checkpoint
from utils.checkpoint.load import load_weights
from utils.checkpoint.onnx_file import read_facts, read_onnx
from utils.text import counted, safe_text

SHOWN = 10  # class names


def info_lines(path: Path) -> list[str]:
    """Return what a checkpoint of any kind, a safetensors or an ONNX file says. Raises: CheckpointError."""
    lines = _onnx_lines(path) if path.suffix.lower() == ".onnx" else _weights_lines(load_weights(path), path)
    return [f"{path}: {lines[0]}, {path.stat().st_size / 1e6:,.1f} MB", *(f"  {line}" for line in lines[1:])]


def _weights_lines(found: Checkpoint | dict[str, Tensor], path: Path) -> list[str]:
    if isinstance(found, dict):
        return ["tensors without a model description (a state_dict)", _tensors(found)]
    facts, training = found.facts, found.facts["training"] or {}
    return [
        _kind(found),
        _tensors(found.state),
        f"model: {_rows(found.yaml)}, images of {found.yaml.get('ch', 3)} channels",
        f"strides: {' '.join(map(str, found.stride)) or 'not told'}",
        _classes(found.names),
        f"epoch: {found.epoch}" if found.epoch >= 0 else "epoch: not told, as of a training that is over",
        *([f"best fitness: {facts['best_fitness']:.4g}"] if facts["best_fitness"] is not None else []),
        *([f"image size: {facts['imgsz']}"] if facts["imgsz"] else []),
        *([f"data: {safe_text(data)}"] if (data := (training.get("opt") or {}).get("data")) else []),
        *([f"written: {safe_text(training['date'])}"] if training.get("date") else []),
        *(["can be gone on with: train.py --resume"] if training.get("resume") else []),
    ]


def _kind(found: Checkpoint) -> str:
    if found.facts["format"] == "native":
        return "a checkpoint of this repository"
    return f"a checkpoint of {'YOLOv5' if found.yaml.get('anchors') else 'the YOLOv8 family'}"


def _rows(yaml: Mapping) -> str:
    backbone, head = yaml["backbone"], yaml["head"]
    rows = f"{len(backbone) + len(head)} rows, from {safe_text(backbone[0][2])} to {safe_text(head[-1][2])}"
    return f"{rows}, scale {safe_text(yaml['scale'])}" if "scale" in yaml else rows


def _tensors(state: Mapping[str, Tensor]) -> str:
    numbers = sum(tensor.numel() for tensor in state.values())
    return f"{counted(len(state), 'tensor')} of {numbers:,} numbers"


def _classes(names: Mapping[int, str]) -> str:
    shown = ", ".join(safe_text(name) for name in list(names.values())[:SHOWN])
    return f"{len(names)} classes: {shown}{', …' if len(names) > SHOWN else ''}"


def _onnx_lines(path: Path) -> list[str]:
    file = read_onnx(path)
    facts = read_facts(file)
    return [
        "an ONNX file",
        f"operators: {', '.join(sorted(file.operators))}",
        f"output: {facts.layout or 'layout not told'}, stride {facts.stride}",
        _classes(facts.names),
        *([f"image size: {' '.join(map(str, facts.trained.imgsz))}"] if facts.trained.imgsz else []),
        *([f"data: {safe_text(facts.trained.data)}"] if facts.trained.data else []),
        *([f"differences from PyTorch: {facts.verification}"] if facts.verification else []),
    ]
