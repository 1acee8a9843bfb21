"""``train.py --show-aug``: pictures of what a training sees, beside the images that they are made of."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from utils.config import check_config
from utils.configs.train import TrainConfig
from utils.data.batch import Batch
from utils.data.image_weights import ImageWeights
from utils.data.mosaic.augment import AugmentConfig
from utils.dist import world
from utils.errors import ConfigError
from utils.plots.batches import MAX_IMAGES, plot_batch
from utils.runs import new_run_dir
from utils.text import counted
from utils.training.autobatch import with_batch_size
from utils.training.inputs import Inputs, read_inputs
from utils.training.multi_scale import multi_scale, size_grid
from utils.training.session import build_train

log = logging.getLogger(__name__)

PROJECT = "runs/aug"
PAIRS = MAX_IMAGES // 2  # on a sheet
CAPTION = "{}, as trained"
Pair = tuple[Batch, Batch]  # without and with augmentation


def show_aug(cfg: TrainConfig) -> Path:
    """Draw the first ``cfg.show_aug`` pictures of epoch 0 on sheets, and return their folder, which is new.

    They are made as the run makes them, batch by batch, in this process. Raises: UserError, as a run.
    """
    check_config(cfg)
    if cfg.resume is not None:
        raise ConfigError("--show-aug shows a new run, --resume goes on with one", "give its opt.yaml with --config")
    if "," in cfg.device or world() > 1:
        raise ConfigError("--show-aug works in one process", "start it without torchrun, with one --device")
    inputs = with_batch_size(read_inputs(cfg, None))
    pairs = list(islice(_pairs(inputs), cfg.show_aug))
    if len(pairs) < cfg.show_aug:
        log.info("an epoch has %s", counted(len(pairs), "picture"))
    run_dir = new_run_dir(cfg.project if "project" in cfg.given else PROJECT, cfg.name, exist_ok=cfg.exist_ok)
    for number, sheet in enumerate(map(_joined, _sheets(pairs))):
        picture = run_dir / f"augment{number}.jpg"
        plot_batch(sheet.images, sheet.targets, picture, paths=sheet.paths, names=inputs.spec.names, group=2)
    log.info("%s of the first epoch in %s", counted(len(pairs), "picture"), run_dir)
    return run_dir


def _pairs(inputs: Inputs) -> Iterator[Pair]:
    """Yield the pictures of epoch 0, one by one, without and with augmentation."""
    cfg, model, scan = replace(inputs.cfg, cache=None), inputs.model, inputs.scans[0]
    weights = ImageWeights(scan.labels, model.nc) if cfg.image_weights else None
    without, with_it = (
        build_train(cfg, augment, inputs.shape, model, scan, weights)
        for augment in (AugmentConfig(), AugmentConfig.from_hyp(inputs.hyp, cfg.epochs))
    )
    for number in range(len(with_it)):
        batches = [loader.batches[0, number] for loader in (without, with_it)]
        if cfg.multi_scale:
            _say_size(inputs, batches[1], number)
        for index in range(len(batches[1].images)):
            before, after = (_one(batch, index) for batch in batches)
            yield before, replace(after, paths=[CAPTION.format(after.paths[0])])


def _say_size(inputs: Inputs, batch: Batch, number: int) -> None:
    size = torch.empty(len(batch.images), 1, *batch.images.shape[-2:])
    size = multi_scale(size, size_grid(inputs.model.size_multiple), inputs.cfg.seed, 0, number).shape[-2:]
    log.info("--multi-scale: batch %d is trained at %d×%d pixels", number, *size)


def _one(batch: Batch, index: int) -> Batch:
    """Return a batch of one of its pictures."""
    targets = batch.targets[batch.targets[:, 0] == index].clone()
    targets[:, 0] = 0
    return Batch(batch.images[index : index + 1], targets, batch.paths[index : index + 1], None)


def _sheets(pairs: list[Pair]) -> Iterator[list[Pair]]:
    """Yield the pairs in groups of pictures of the same size, each as large as a sheet."""
    group: list[Pair] = []
    for pair in pairs:
        if len(group) == PAIRS or (group and group[0][0].images.shape != pair[0].images.shape):
            yield group
            group = []
        group.append(pair)
    yield group


def _joined(pairs: list[Pair]) -> Batch:
    """Return the batches of pairs, of one picture each, as one, the two of a pair side by side."""
    ones = [one for pair in pairs for one in pair]
    targets = [one.targets + one.targets.new_tensor([index, 0, 0, 0, 0, 0]) for index, one in enumerate(ones)]
    return Batch(torch.cat([one.images for one in ones]), torch.cat(targets), [one.paths[0] for one in ones], None)
