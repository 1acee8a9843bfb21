"""Measure one weights file in one format: size, difference from PyTorch, latency, images per second, mAP."""

import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.backends.choose import load_backend
from utils.benchmark.latency import measure_steady
from utils.benchmark.mode import PYTORCH, format_of_row, is_int8
from utils.checkpoint.facts import Backend
from utils.configs.val import ValConfig
from utils.data.scan.spec import load_data_spec
from utils.device import select_device
from utils.errors import UserError
from utils.evaluation.setup import measure, open_model
from utils.export.calibrate import calibration_images
from utils.export.int8 import Int8
from utils.export.order import Order
from utils.export.write import Written, size_of, write_format
from utils.text import one_line

log = logging.getLogger(__name__)

FILES = "files"  # folder of what is exported, in that of the table


@dataclass(frozen=True)
class FormatsJob:
    """One weights file and how all of its formats are measured."""

    weights: str
    backbone: str  # the user's file that it needs, if any
    data: str
    classes: tuple[str, ...]  # of a training with some of those of ``data``, else empty
    imgsz: int
    batch_size: int  # of images per second, and of the validation
    single_cls: bool
    half: bool  # where a row is not in integers
    device: str
    workers: int
    truth: str = ""  # fingerprint of what the mAP is measured on

    def validation(self, path: str | Path, half: bool = False) -> ValConfig:
        """Return how a file is validated: on squares, which files of one size need."""
        names = ("data", "classes", "imgsz", "batch_size", "single_cls", "device", "workers")
        shared = {name: getattr(self, name) for name in names}
        backbone = self.backbone if str(path) == self.weights else ""
        return ValConfig(weights=str(path), backbone=backbone, half=half, task="speed", plots=False, **shared)


MakeOrder = Callable[[FormatsJob, int], Order]  # how the model is exported for batches of a size


def measure_format(job: FormatsJob, name: str, folder: Path, make_order: MakeOrder) -> Iterator[dict[str, Any]]:
    """Yield the figures of a format, by the names of ``formats_table.Row``, as soon as each is known.

    What is exported stays in a folder of ``folder``. Where it cannot be, the figure ``remark`` says why.
    """
    if name == PYTORCH:
        path, half = Path(job.weights), job.half and select_device(job.device).type != "cpu"
        yield {"megabytes": size_of(path) / 1e6}
        if job.half and not half:
            yield {"remark": "in float32: PyTorch computes in float16 on a GPU only"}
    else:
        half, files = False, folder / FILES
        files.mkdir(exist_ok=True)
        try:
            written = _write(job, name, 1, files, make_order)
        except UserError as error:
            log.error("%s", error)
            yield {"remark": _without_folder(error, files)}
            return
        path = written.path
        boxes, scores = zip(*((found.box_px, found.score) for found in written.comparisons), strict=True)
        yield {"megabytes": written.megabytes, "box_px": max(boxes), "score": max(scores)}
    setup = open_model(job.validation(path, half), path)
    yield from _speed(job, name, setup.backend, make_order)
    evaluation = measure(setup)
    yield {"map": evaluation.metrics.map, "map50": evaluation.metrics.map50, "images": evaluation.images}
    yield {"finished": True}


def _write(job: FormatsJob, name: str, batch: int, folder: Path, make_order: MakeOrder) -> Written:
    """Write and prove a file; what one in integers costs is a figure of the table. Raises: UserError."""
    order = make_order(replace(job, half=job.half and not is_int8(name)), batch)
    if is_int8(name):
        images = calibration_images(load_data_spec(job.data), order.shape)
        order = replace(order, name=f"{order.name}_int8", int8=Int8(images, max_drop=1.0, measure=None))
    return write_format(format_of_row(name), order, folder, lambda path: load_backend(path, order.device))


def _speed(job: FormatsJob, name: str, backend: Backend, make_order: MakeOrder) -> Iterator[dict[str, Any]]:
    """Yield the latency of one image, then the images per second of a file for larger batches."""
    one = measure_steady(backend, _images(job, backend, 1))
    yield {"p50_ms": one.p50_ms, "p95_ms": one.p95_ms, "passes": one.passes}
    if not one.is_steady:
        first, second = one.halves_ms
        yield {
            "remark": f"not steady: p50 of {first:.1f} ms in the first half of the passes, {second:.1f} in the other"
        }
    batch = job.batch_size
    if batch == 1:
        yield {"images_per_s": 1e3 / one.p50_ms, "batch": batch}
        return
    with tempfile.TemporaryDirectory() as scratch:
        try:
            if name != PYTORCH:
                backend = load_backend(_write(job, name, batch, Path(scratch), make_order).path, backend.device)
            several = measure_steady(backend, _images(job, backend, batch))
            yield {"images_per_s": 1e3 * batch / several.p50_ms, "batch": batch}
        except UserError as error:
            yield {"remark": f"batch {batch}: {_without_folder(error, Path(scratch))}"}


def _images(job: FormatsJob, backend: Backend, batch: int) -> Tensor:
    height, width = backend.fixed_size or (job.imgsz, job.imgsz)
    return torch.rand(batch, backend.channels, height, width, device=backend.device)


def _without_folder(error: UserError, folder: Path) -> str:
    return one_line(error.what.replace(f"{folder}/", ""))
