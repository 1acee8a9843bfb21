"""Compare the training form of backbones with the deployed one: latency and memory over the size of the batch."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.detector import DetectionModel
from models.parse import read_model_yaml
from models.swap import swap_backbone
from utils.benchmark.latency import measure_latencies, now
from utils.benchmark.machine import machine_facts
from utils.benchmark.reparam_table import FORMS, ReparamTable
from utils.benchmark.subprocess_run import IsolatedError, isolated
from utils.config import check_config
from utils.configs.benchmark import OWN, BenchmarkConfig
from utils.device import clear_memory, select_device
from utils.errors import ConfigError
from utils.imgsz import fit_imgsz
from utils.runs import new_run_dir
from utils.training.peak import Growth, PeakMemory

log = logging.getLogger(__name__)

TIMED_S, RUNS = (
    10.0,
    (3, 50),
)  # seconds for the timed passes of a batch size, and how few or many there are of each form
Figures = dict[str, float | str]  # of one batch size, by the names of ``reparam_table.Row``


def run_reparam(cfg: BenchmarkConfig) -> ReparamTable:
    """Measure every backbone of ``cfg.reparam`` and return the table; its files are written anew after each.

    Each form's memory is measured in a process of its own, then the latencies of both in turns in another one.
    Raises: ConfigError for a wrong name or setting before anything runs, and at the end when nothing was measured.
    """
    check_config(cfg)
    device = select_device(cfg.device)
    backbones = list(dict.fromkeys(cfg.reparam))
    for backbone in backbones:
        with torch.device("meta"):
            _detector(cfg, backbone)
    table = ReparamTable(new_run_dir(cfg.project, cfg.name), _notes(cfg, device))
    for number, backbone in enumerate(backbones, 1):
        log.info("[%d/%d] %s", number, len(backbones), backbone)
        _measure(cfg, backbone, table)
        table.save()
    if not table.rows:
        raise ConfigError("nothing could be measured", "; ".join(table.remarks))
    return table


def _measure(cfg: BenchmarkConfig, backbone: str, table: ReparamTable) -> None:
    batches = sorted(set(cfg.batches))
    for form in FORMS:
        done = _collect(table, backbone, isolated(measure_memory, cfg, backbone, form, tuple(batches)))
        batches = [batch for batch in batches if batch in done]  # where a form does not fit, the other is of no use
    if batches:
        _collect(table, backbone, isolated(measure_times, cfg, backbone, tuple(batches)))


def _collect(table: ReparamTable, backbone: str, items: Iterator[tuple[int, Figures]]) -> set[int]:
    """Put figures into the table as they come; return the batch sizes that have some."""
    done = set()
    try:
        for batch, figures in items:
            if "remark" in figures:
                table.remark(f"{backbone}: {figures['remark']}")
                continue
            table.add(backbone, batch, figures)
            done.add(batch)
            if "deployed_p50_ms" in figures:
                log.info("batch %d: %s", batch, table.rows[backbone, batch].times())
    except IsolatedError as error:
        table.remark(f"{backbone}: {error}")
    return done


def measure_memory(
    cfg: BenchmarkConfig, backbone: str, form: str, batches: tuple[int, ...]
) -> Iterator[tuple[int, Figures]]:
    """Yield the peak memory of each batch size, smallest first, up to the last one that fits.

    Sizes between are tried too, so that each is at most twice the one before, from which its need is foretold.
    """
    device = select_device(cfg.device)
    model = _deployable(cfg, backbone, device, fused=form == FORMS[1])
    memory, growth = PeakMemory(device), Growth()
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    clear_memory(device)  # the branches that are gone; what they have left would hide what a batch takes
    built = memory.now()
    doubled = (2**power for power in range(batches[-1].bit_length()))
    for batch in sorted({*batches, *(size for size in doubled if size < batches[-1])}):
        refusal = growth.refusal(batch, memory.now(), memory.free())
        if refusal or not _fits(model, batch, memory):
            left = ", ".join(str(b) for b in batches if b >= batch)
            reason = f"{batch} images {refusal}" if refusal else f"memory ended at {batch} images"
            yield batch, {"remark": f"batch {left} left out: in the {form} form {reason}"}
            return
        growth.add(batch, memory.peak())
        if batch in batches:
            yield batch, {f"{form}_memory_gb": (memory.peak() - built + weights) / 1e9}


def _fits(model: nn.Module, batch: int, memory: PeakMemory) -> bool:
    """Run a batch and say if the memory was enough."""
    memory.reset()
    try:
        with torch.inference_mode():
            model.predict(_images(model, batch, memory.device))
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "allocate" not in str(error):
            raise
        return False
    return True


def measure_times(cfg: BenchmarkConfig, backbone: str, batches: tuple[int, ...]) -> Iterator[tuple[int, Figures]]:
    """Yield the latencies of both forms, measured in turns, for each batch size."""
    device = select_device(cfg.device)
    models = [_deployable(cfg, backbone, device, fused=fused) for fused in (False, True)]
    forms = [model.predict for model in models]
    for batch in batches:
        images = _images(models[0], batch, device)
        measure_latencies(forms, images, warmup=0, runs=1)  # the first ones set up caches
        start = now(device)
        measure_latencies(forms, images, warmup=0, runs=1)
        runs = min(max(int(TIMED_S / (now(device) - start)), RUNS[0]), RUNS[1])
        found = zip(FORMS, measure_latencies(forms, images, warmup=0, runs=runs), strict=True)
        yield batch, {f"{form}_{key}": value for form, times in found for key, value in vars(times).items()}


def _images(model: nn.Module, batch: int, device: torch.device) -> Tensor:
    height, width = model.fixed_size or (model.imgsz, model.imgsz)
    images = torch.rand(batch, model.yaml["ch"], height, width, device=device)
    return images.to(memory_format=torch.channels_last)


def _deployable(cfg: BenchmarkConfig, backbone: str, device: torch.device, *, fused: bool) -> DetectionModel:
    """Return a detector in eval mode."""
    model = _detector(cfg, backbone).eval()
    model.imgsz = fit_imgsz(cfg.imgsz, model.size_multiple)
    if fused:
        model.fuse()
    return model.to(device, memory_format=torch.channels_last)


def _detector(cfg: BenchmarkConfig, backbone: str) -> DetectionModel:
    data, _ = read_model_yaml(cfg.cfg)
    if backbone != OWN:
        data = swap_backbone(data, backbone, imgsz=(cfg.imgsz, cfg.imgsz))
    torch.manual_seed(cfg.seed)
    return DetectionModel(data, load_backbone=False)


def _notes(cfg: BenchmarkConfig, device: torch.device) -> list[str]:
    """Return lines that say what the figures mean and on which machine they were measured."""
    kind = "allocated on the GPU" if device.type == "cuda" else "resident"
    facts: dict[str, Any] = machine_facts(device)
    facts.pop("ONNX Runtime")
    return [
        "; ".join(f"{name}: {fact}" for name, fact in facts.items()),
        f"{Path(cfg.cfg).name} with each backbone, images of {cfg.imgsz}×{cfg.imgsz}, float32, channels_last, no NMS",
        f"Latency (p50 / p95): both forms in turns, {RUNS[0]} to {RUNS[1]} passes each, within about {TIMED_S:.0f} s",
        f"Memory (training → deployed): weights, images and activations at their peak, {kind}, a process for each form",
    ]
