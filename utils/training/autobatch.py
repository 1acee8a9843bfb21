"""``--batch-size auto``: as many images as fit into the memory, by the peaks of training steps at a few sizes.

The steps are those of the run, forward, loss and backward beside optimizer, gradients and average, in its precision,
with pictures of the largest size and with the most boxes that it may see. A copy of the model makes them, so that the
run is the one of ``--batch-size N``. Peaks lie on a line: yolov5n at 640×640 pixels in float32 on a CPU takes 0.99,
1.21 and 2.32 GB with 2, 4 and 16 images; the line through the first two foretells 2.53.
"""

import copy
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from utils.configs.shared import AUTO
from utils.data.batch import as_images, as_targets
from utils.data.image_store import stored_bytes
from utils.data.loader import PREFETCH, worker_count
from utils.data.mosaic.augment import AugmentConfig
from utils.data.order import rect_shapes
from utils.data.quad import JOINED
from utils.device import autocast, clear_memory, to_float_images
from utils.errors import lacking_memory
from utils.hyper import take
from utils.training.generators import kept_generators
from utils.training.inputs import Inputs
from utils.training.multi_scale import largest_size, resized, size_grid
from utils.training.parts import build_parts
from utils.training.peak import Growth, PeakMemory
from utils.training.schedule import ScheduleHyp

log = logging.getLogger(__name__)

FIRST = 2  # pictures of the first step; norms in training may take no single one
UNMEASURED = 16  # images, where the system does not tell its memory: the default of --batch-size
# Shares of the free memory. A GPU's allocator loses some between blocks of different sizes. Where a CPU has too little,
# Linux kills the process and nothing can be mended; and other programs want some.
GPU_SHARE, CPU_SHARE = 0.85, 0.7
GPU_LIMIT = 1024  # images; YOLOv5's autobatch trusts no more either
Step = Callable[[int], object]  # trains so many pictures; raises PyTorch's error where they do not fit


class Found(NamedTuple):
    """The most pictures that fit, 0 where that could not be measured, and the line of the peaks in bytes."""

    pictures: int
    each: int = 0
    fixed: int = 0


def with_batch_size(inputs: Inputs) -> Inputs:
    """Return inputs whose batch size is a number: with ``auto`` the one that fits, which is measured and said."""
    cfg = inputs.cfg
    if cfg.batch_size != AUTO:
        return inputs
    return replace(inputs, cfg=replace(cfg, batch_size=_choose(inputs)))


def _choose(inputs: Inputs) -> int:
    samples = JOINED if inputs.cfg.quad else 1  # in a picture
    limit, why = _limit(inputs)
    limit = max(limit // samples, 1)
    memory, share = PeakMemory(inputs.device), GPU_SHARE if inputs.device.type == "cuda" else CPU_SHARE
    now, free = memory.now(), memory.free()
    if free is None or inputs.device.type == "mps":
        chosen = min(UNMEASURED // samples, limit) * samples
        log.info("--batch-size auto: %d, as this system does not tell how much memory is free", chosen)
        return chosen
    beside = _beside(inputs, free)
    with kept_generators(inputs.device):
        trial = Trial(inputs)
        if inputs.device.type == "cuda":
            found = largest_on_gpu(trial.step, memory, now + int(share * free), limit)
        else:
            found = largest_on_cpu(trial.step, memory, now + int(share * (free - beside)), _loaded(inputs, samples))
        del trial
    clear_memory(inputs.device)
    if not found.each:
        chosen = min(UNMEASURED // samples, limit) * samples
        log.info("--batch-size auto: %d, as images need too little memory to be measured", chosen)
        return chosen
    pictures = max(1, min(found.pictures, limit))
    log.info(
        "--batch-size auto: %d, at %.3g GB an image and %.3g GB besides, with %d %% of the %.3g GB that are free%s",
        *(pictures * samples, found.each / samples / 1e9, max(found.fixed - now, 0) / 1e9, 100 * share),
        *((free - beside) / 1e9, f"; no more than {why}" if found.pictures > limit else ""),
    )
    return pictures * samples


def _limit(inputs: Inputs) -> tuple[int, str]:
    """Return the most images of a batch, and which limit that is.

    On a CPU a batch above ``nominal_batch`` is no faster, and trains otherwise: it makes fewer optimizer steps.
    """
    images = len(inputs.scans[0])
    if inputs.device.type == "cuda":
        limit, why = GPU_LIMIT, f"{GPU_LIMIT} on a GPU"
    else:
        nominal = max(1, round(take(ScheduleHyp, inputs.hyp).nominal_batch))
        limit, why = nominal, f"the {nominal} of an optimizer step (nominal_batch) on a CPU"
    return (images, f"the {images} training images") if images < limit else (limit, why)


def largest_on_gpu(step: Step, memory: PeakMemory, most: int, limit: int) -> Found:
    """Return what fits into ``most`` bytes, at most ``limit`` pictures: it is tried, as sizes double and at last."""
    growth, done, pictures = Growth(), 0, FIRST
    while pictures <= max(limit, 2 * FIRST) and growth.foretell(pictures) <= most:
        if not _fits(step, memory, pictures):
            break
        growth.add(pictures, memory.peak())
        done, pictures = pictures, 2 * pictures
    found = _on_line(growth, most)
    if not found.each:
        return _without_line(memory, done)
    pictures = min(found.pictures, limit)
    while pictures > done and not _fits(step, memory, pictures):
        pictures = max(pictures * 3 // 4, done)
    return found._replace(pictures=found.pictures if pictures == limit else pictures)


def largest_on_cpu(step: Step, memory: PeakMemory, most: int, loaded: int) -> Found:
    """Return what fits into ``most`` bytes where loader processes need ``loaded`` more for every picture."""
    growth, done = Growth(), 0
    for pictures in (FIRST, 2 * FIRST):
        if not _fits(step, memory, pictures):
            return _without_line(memory, done)
        growth.add(pictures, memory.peak() + pictures * loaded)
        done = pictures
    return _on_line(growth, most)


def _on_line(growth: Growth, most: int) -> Found:
    """Return the last size whose foretold peak is at most ``most``; nothing where peaks do not grow."""
    fixed = growth.foretell(0)
    each = growth.foretell(1) - fixed
    return Found(max((most - fixed) // each, 0), each, fixed) if each > 0 else Found(0)


def _without_line(memory: PeakMemory, done: int) -> Found:
    """Return the largest size that was done, where the next did not fit."""
    return Found(done, each=memory.peak() // max(done, 1))


def _fits(step: Step, memory: PeakMemory, pictures: int) -> bool:
    memory.reset()
    try:
        step(pictures)
    except RuntimeError as error:
        if not lacking_memory(error):
            raise
    else:
        return True
    clear_memory(memory.device)
    return False


def _beside(inputs: Inputs, free: int) -> int:
    """Return the bytes that --cache will take of the memory; a cache that does not fit is not made."""
    splits = {"ram": inputs.scans, "val": inputs.scans[1:]}.get(inputs.cfg.cache, ())
    need = sum(stored_bytes(scan.shapes, inputs.shape, inputs.spec.pixels) for scan in splits)
    return need if need < CPU_SHARE * free else 0


def _loaded(inputs: Inputs, samples: int) -> int:
    """Return the bytes of a picture in all batches that wait, here and in loader processes; validation takes twice."""
    batches = worker_count(inputs.cfg.workers, UNMEASURED) * PREFETCH + 1
    return 2 * batches * samples * inputs.spec.pixels.bytes_per_pixel * inputs.shape[0] * inputs.shape[1]


def most_boxes(inputs: Inputs) -> int:
    """Return the most boxes that a picture may have: the densest images met in it, twice where objects are copied."""
    augment = AugmentConfig.from_hyp(inputs.hyp)
    augment = augment.without_mosaics() if inputs.cfg.rect else augment
    images = (9 if augment.mosaic9 else 4) if augment.mosaic else 1
    images *= (2 if augment.mixup else 1) * (JOINED if inputs.cfg.quad else 1)
    counts = sorted((len(rows) for rows in inputs.scans[0].labels), reverse=True)
    return sum(counts[:images]) * (2 if augment.copy_paste else 1)


def largest_shape(inputs: Inputs) -> tuple[int, int]:
    """Return (height, width) in pixels of the largest pictures, before --multi-scale changes their size."""
    height, width = inputs.shape
    if inputs.cfg.rect:
        aspects = inputs.scans[0].shapes[:, 0] / inputs.scans[0].shapes[:, 1]
        both = np.array([aspects.min(), aspects.max()])
        height, width = rect_shapes(both, 2, inputs.shape, inputs.model.size_multiple, pad=0)[0].tolist()
    return (2 * height, 2 * width) if inputs.cfg.quad else (height, width)


class Trial:
    """Trains a copy of the model on pictures that are drawn, at a learning rate of 0."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs, self.model = inputs, copy.deepcopy(inputs.model).train()
        self.parts = build_parts(replace(inputs, model=self.model), UNMEASURED)
        self.parts.freezing.start(inputs.cfg.unfreeze_epoch or 0)  # the epochs behind it need more memory
        self.boxes, self.shape = most_boxes(inputs), largest_shape(inputs)
        self._fill_optimizer()

    def _fill_optimizer(self) -> None:
        """Let the optimizer have its state, and all parameters a gradient, as in the middle of a step."""
        for group in self.parts.optimizer.param_groups:
            group["lr"] = 0.0
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        self.parts.optimizer.step()

    def step(self, pictures: int) -> None:
        """Train so many pictures; weights and their gradients alone are left of it."""
        cfg, device = self.inputs.cfg, self.inputs.device
        rng = np.random.default_rng(0)
        pixels = self.inputs.spec.pixels
        drawn = rng.integers(0, 256, (pictures, *self.shape, pixels.channels), dtype=pixels.dtype)
        images = to_float_images(as_images(drawn), device)
        if cfg.multi_scale:
            grid = size_grid(self.model.size_multiple)
            images = resized(images, largest_size(max(self.shape), grid), grid)
        with autocast(device, self.parts.amp_dtype):
            maps = self.model(images)
        loss, _ = self.parts.loss(maps, as_targets([self._labels(rng) for _ in range(pictures)]))
        loss.backward()

    def _labels(self, rng: np.random.Generator) -> np.ndarray:
        """Return the labels (n, 5) [class, cx, cy, w, h] of a picture, boxes of a 50th to half of it."""
        classes = rng.integers(0, self.model.nc, (self.boxes, 1))
        centres = rng.uniform(0.05, 0.95, (self.boxes, 2))
        sizes = np.exp(rng.uniform(np.log(0.02), np.log(0.5), (self.boxes, 2)))
        return np.concatenate([classes, centres, sizes], 1).astype(np.float32)
