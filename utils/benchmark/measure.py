"""Measure one backbone in a detector: size, latency, training speed and memory, accuracy, ONNX."""

import copy
import csv
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.build import count_parameters
from models.parse import read_model_yaml
from models.registry import adamw
from models.summary import count_flops
from models.swap import swap_backbone, swap_head
from utils.benchmark.latency import measure_latencies
from utils.configs.benchmark import OWN, BenchmarkConfig
from utils.configs.train import TrainConfig
from utils.detection.names import injective_name
from utils.device import memory_gb, now
from utils.errors import UserError
from utils.held_signals import Caught
from utils.training.epoch import train_epoch
from utils.training.loop import train
from utils.training.pace import Pace
from utils.training.session import Session, build_session
from utils.yaml_file import write_yaml

log = logging.getLogger(__name__)

RECIPE = adamw(0.02)  # for all backbones of one table; it learns far more than SGD in a few epochs of a small data set
WARMUP_STEPS, TIMED_STEPS = 3, 12  # batches; the first ones start workers and fill caches

OnnxMaker = Callable[[nn.Module, Path, int, torch.device], Callable]  # model, file, imgsz, device → what runs it


def measure_backbone(
    cfg: BenchmarkConfig, backbone: str, run_dir: Path, make_onnx: OnnxMaker
) -> Iterator[dict[str, Any]]:
    """Yield figures of one backbone, by the names of ``leaderboard.Row``, as soon as each is known.

    The training goes into a folder of ``run_dir``. Where only the ONNX export fails, the figure ``remark`` says why.
    """
    training = train_config(cfg, backbone, run_dir)
    with tempfile.TemporaryDirectory() as scratch:
        session = build_session(replace(training, project=scratch))
        model = copy.deepcopy(session.ema.ema)
        imgsz, device = session.imgsz, session.device
        images = torch.rand(1, model.yaml["ch"], imgsz, imgsz).to(device, memory_format=torch.channels_last)
        fused = copy.deepcopy(model).cpu().fuse().to(device, memory_format=torch.channels_last)  # as timm fuses there
        yield _size(model, imgsz, "") | _size(fused, imgsz, "_fused")
        for form, latency in zip(
            ("unfused", "fused"), measure_latencies([model.predict, fused.predict], images), strict=True
        ):
            yield {f"{form}_p50_ms": latency.p50_ms, f"{form}_p95_ms": latency.p95_ms}
        yield _training_speed(session)
        for logger in session.loggers:
            logger.finish(True)
        del session, fused  # and with the session the workers of its loader
        if cfg.epochs:
            yield accuracy(train(training))
        try:
            [latency] = measure_latencies([make_onnx(model, Path(scratch, "model.onnx"), imgsz, device)], images)
            yield {"onnx_p50_ms": latency.p50_ms, "onnx_p95_ms": latency.p95_ms}
        except UserError as error:
            yield {"remark": f"ONNX: {error.what}"}
    yield {"finished": True}


def train_config(cfg: BenchmarkConfig, backbone: str, run_dir: Path) -> TrainConfig:
    """Write the model YAML with the backbone in it and a recipe, and return how to train it."""
    data, _ = read_model_yaml(cfg.cfg)
    for head in cfg.heads:
        data = swap_head(data, head)
    recipe = data.get("recipe") or ({} if cfg.hyp else RECIPE)
    if backbone != OWN:
        data = swap_backbone(data, backbone, weights=cfg.backbone_weights == "auto", imgsz=(cfg.imgsz, cfg.imgsz))
    name = "-".join((injective_name(backbone), *cfg.heads))
    path = run_dir / f"{name}.yaml"
    write_yaml(path, data | {"recipe": recipe})
    shared = {
        field: getattr(cfg, field) for field in ("data", "hyp", "batch_size", "imgsz", "device", "workers", "seed")
    }
    return TrainConfig(
        cfg=str(path),
        epochs=max(cfg.epochs, 1),
        patience=0,
        val=False,
        plots=False,
        report=False,
        project=str(run_dir),
        name=name,
        exist_ok=True,
        **shared,
    )


def _size(model: nn.Module, imgsz: int, suffix: str) -> dict[str, float]:
    return {f"parameters{suffix}": count_parameters(model), f"gflops{suffix}": count_flops(model, imgsz) / 1e9}


class FirstBatches:
    """A loader's first batches, over several epochs if need be; ``marks`` are the times before each and at last."""

    def __init__(self, loader: Any, count: int, device: torch.device) -> None:
        self.loader, self.count, self.device = loader, count, device
        self.marks: list[float] = []
        self.images: list[int] = []

    def __len__(self) -> int:
        return self.count

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        self.loader.set_epoch(epoch, first)

    def __iter__(self) -> Iterator[Any]:
        stream = chain.from_iterable(repeat(self.loader))
        for _ in range(self.count):
            self.marks.append(now(self.device))
            batch = next(stream)
            self.images.append(len(batch.images))
            yield batch
        self.marks.append(now(self.device))


def _training_speed(session: Session) -> dict[str, float]:
    """Return images per second of real training steps, loading included, and the peak memory up to then."""
    batches = FirstBatches(session.train_loader, WARMUP_STEPS + TIMED_STEPS, session.device)
    log.info("training speed, from %d batches:", len(batches))
    silent = Pace(epochs=1, batches=0)  # these batches tell nothing of a whole run
    train_epoch(replace(session, train_loader=batches, pace=silent), Caught())
    seconds = batches.marks[-1] - batches.marks[WARMUP_STEPS]
    on_gpu = session.device.type == "cuda"
    peak_gb = torch.cuda.max_memory_allocated(session.device) / 1e9 if on_gpu else memory_gb(session.device)
    return {"training_images_per_s": sum(batches.images[WARMUP_STEPS:]) / seconds, "peak_memory_gb": peak_gb}


def accuracy(run_dir: Path) -> dict[str, float]:
    """Return the mAPs of the last epoch of a training."""
    with (run_dir / "results.csv").open(newline="", encoding="utf-8") as file:
        *_, last = csv.DictReader(file, skipinitialspace=True)
    return {"map50": float(last["metrics/mAP_0.5"]), "map": float(last["metrics/mAP_0.5:0.95"])}
