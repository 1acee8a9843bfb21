"""Compare backbones, each measured in a process of its own, and keep the results."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from models.parse import read_model_yaml
from utils.benchmark.board import Board
from utils.benchmark.latency import RUNS, WARMUP
from utils.benchmark.leaderboard import open_leaderboard
from utils.benchmark.machine import machine_facts
from utils.benchmark.measure import TIMED_STEPS
from utils.benchmark.mode import BACKBONES, USES
from utils.benchmark.subprocess_run import isolated
from utils.config import check_config
from utils.configs.benchmark import BenchmarkConfig
from utils.data.scan.scan import scan_split
from utils.data.scan.scan_result import ScanResult
from utils.data.scan.spec import load_data_spec
from utils.device import autocast_dtype, select_device
from utils.errors import ConfigError
from utils.runs import ROOT

CODE = ("models/**/*.py", "utils/**/*.py", "data/**/*.yaml")

Measure = Callable[[BenchmarkConfig, str, Path], Iterator[dict[str, Any]]]


def run_benchmark(cfg: BenchmarkConfig, measure: Measure) -> Board:
    """Measure every backbone, with every head of ``cfg.heads``, that has no finished row yet; return the leaderboard.

    ``measure(cfg, backbone, folder)``, whose ``cfg`` has one head at most, yields figures by the names of
    ``leaderboard.Row``, in a process of its own: peak memory is that of one backbone, and neither a crash nor a full
    memory ends the rest.
    Raises: ConfigError for a wrong setting at once, and at the end when nothing could be measured.
    """
    board = open_leaderboard(cfg.project, cfg.name, benchmark_settings(cfg), benchmark_notes(cfg))
    wanted = list(dict.fromkeys(product(cfg.backbones, cfg.heads or ("",))))
    for number, (backbone, head) in enumerate(wanted, 1):
        source = source_of(backbone)
        if not board.has(backbone, head, source=source):
            one = replace(cfg, heads=(head,) if head else ())
            work = partial(isolated, measure, one, backbone, board.folder)
            board.measure(f"[{number}/{len(wanted)}]", {"backbone": backbone, "head": head}, source, work)
    if not any(board.rows[key].finished for key in wanted):
        raise ConfigError("no backbone could be measured", f"the remarks in {board.folder} say why")
    return board


def source_of(backbone: str) -> str:
    """Return the fingerprint of the file in ``path/to/file.py:builder``, nothing for other names."""
    file = Path(backbone.rpartition(":")[0])
    return digest([file]) if file.suffix == ".py" else ""


def benchmark_settings(cfg: BenchmarkConfig) -> dict[str, Any]:
    """Return all that a row depends on except its backbone: flags, code and YAML files, images and labels, machine.

    Raises: UserError when the model, the data set or the device is not there, or no image has a label.
    """
    check_config(cfg)
    model, _ = read_model_yaml(cfg.cfg)
    spec = load_data_spec(cfg.data)
    hyp = Path(cfg.hyp)
    others = ("backbones", "heads", "project", "name")
    flags = {name: getattr(cfg, name) for name in USES[BACKBONES] if name not in others}
    return {
        **flags,
        "data": str(spec.file),
        "truth": [fingerprint(scan_split(spec, split)) for split in (spec.train, spec.val)],
        "model": model,
        "code": digest([*(path for pattern in CODE for path in ROOT.glob(pattern)), spec.file, hyp]),
        **machine_facts(select_device(cfg.device)),
    }


def benchmark_notes(cfg: BenchmarkConfig) -> list[str]:
    """Return lines that say what the figures mean and on which machine they were measured."""
    device = select_device(cfg.device)
    dtype = str(autocast_dtype(device, amp=True) or torch.float32).removeprefix("torch.")
    memory = "allocated on the GPU" if device.type == "cuda" else "resident, of the training process without loaders"
    start = "from scratch" if cfg.backbone_weights == "none" else "from published weights"
    trained = f"{cfg.epochs} epochs, batch {cfg.batch_size}, {cfg.imgsz} px, seed {cfg.seed}, backbones {start}"
    return [
        "; ".join(f"{name}: {fact}" for name, fact in machine_facts(device).items()),
        f"mAP: {cfg.cfg} after {trained}, on {cfg.data}" if cfg.epochs else f"{cfg.cfg}, not trained",
        f"Latency: one image of {cfg.imgsz}×{cfg.imgsz}, float32, without NMS; {RUNS} runs after {WARMUP}; "
        "PyTorch in channels_last, unfused and fused in turns; ONNX Runtime on the fused model",
        f"Training speed: {TIMED_STEPS} batches of {cfg.batch_size} with loading, {dtype}; peak memory: {memory}",
    ]


def digest(paths: Iterable[Path]) -> str:
    """Return a short fingerprint of the content of those paths that are files."""
    content = b"".join(path.read_bytes() for path in sorted(paths) if path.is_file())
    return hashlib.sha256(content).hexdigest()[:16]


def fingerprint(scan: ScanResult) -> str:
    """Return what tells images, their sizes and labels from others; files are not read again."""
    digest = hashlib.sha256("\0".join(scan.image_paths).encode(errors="surrogateescape"))
    for array in (scan.shapes, *scan.labels):
        digest.update(array.tobytes() + b"\0")
    return digest.hexdigest()[:16]
