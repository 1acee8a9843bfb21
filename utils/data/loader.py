"""Loaders that give whole batches, made here or by worker processes; how many there are does not change the data.

One item of the work is one batch, identified by (epoch, number): a worker needs nothing else to make it.
"""

import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, get_worker_info

from utils.child_process import end_with_parent
from utils.data.batch import Batch, Shape, as_images
from utils.data.image_store import ImageStore
from utils.data.mosaic.augment import AugmentConfig
from utils.data.order import EACH_ONCE, Sampling, build_order
from utils.data.quad import QuadBatches
from utils.data.scan.scan_result import ScanResult
from utils.data.train_batches import TrainBatches
from utils.data.val_batches import ValBatches
from utils.device import usable_cpus
from utils.dist import local_world
from utils.errors import DataError, StorageError, UserError
from utils.freed_memory import keep_small_pieces
from utils.held_signals import held_signals

log = logging.getLogger(__name__)

PREFETCH = 2  # batches that each worker makes ahead
GRACE_S = 2.0  # that a worker goes on after SIGTERM


class BatchLoader:
    """Iterates over the batches of one epoch, which ``set_epoch`` chooses; workers live as long as the loader."""

    def __init__(self, batches: TrainBatches | QuadBatches | ValBatches, workers: int) -> None:
        self.batches, self.workers = batches, workers
        self._keys = _Keys(len(batches))
        self._told_of_pipes = False
        self._loader = DataLoader(
            _Deliveries(batches),
            batch_size=None,
            sampler=self._keys,
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=PREFETCH if workers else None,
            worker_init_fn=_start_worker if workers else None,
            multiprocessing_context="fork" if workers and sys.platform == "linux" else None,  # shares a RAM cache
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # else the DataLoader would draw from the global one
        )

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Choose the epoch, and the batch of it to begin with."""
        self._keys.epoch, self._keys.first = epoch, first

    def take_part(self, number: int, parts: int) -> None:
        """Give only every so many batches from now on: number, number + parts, … of an epoch."""
        self._keys.part = number, parts

    @property
    def is_part(self) -> bool:
        """Return whether other processes have other batches of the same epoch."""
        return self._keys.part[1] > 1

    def __len__(self) -> int:
        return len(range(self._keys.part[0], len(self.batches), self._keys.part[1]))

    def __iter__(self) -> Iterator[Batch]:
        with held_signals():  # while a process forks, Python drops the exception that a signal raises
            deliveries = iter(self._loader)
        for delivery in deliveries:
            if isinstance(delivery, _Failure):
                raise delivery.kind(delivery.what, delivery.fix)
            yield delivery.batch() if isinstance(delivery, _Parcel) else delivery
            if isinstance(delivery, _Parcel) and not self._told_of_pipes:
                self._told_of_pipes = True
                log.warning(
                    "shared memory (/dev/shm) is full: batches are copied through pipes, which is slower; a "
                    "container gets more with docker run --shm-size 2g"
                )


class _Failure(NamedTuple):
    """A user's error as a value; raised in a worker it would arrive as a traceback."""

    kind: type[UserError]
    what: str
    fix: str


@dataclass(frozen=True)  # of a tuple, the DataLoader would turn the arrays into tensors
class _Parcel:
    """A batch as NumPy arrays, which processes copy to each other instead of sharing them."""

    pixels: np.ndarray  # (B, H, W, C)
    targets: np.ndarray
    paths: list[str]
    shapes: list[Shape] | None
    ignored: np.ndarray

    def batch(self) -> Batch:
        targets, ignored = torch.from_numpy(self.targets), torch.from_numpy(self.ignored)
        return Batch(as_images(self.pixels), targets, self.paths, self.shapes, ignored)


class _Deliveries:
    """Batches, or why one cannot be made."""

    def __init__(self, batches: TrainBatches | QuadBatches | ValBatches) -> None:
        self.batches = batches

    def __getitem__(self, key: tuple[int, int]) -> Batch | _Parcel | _Failure:
        try:
            batch = self.batches[key]
            return batch if get_worker_info() is None else _shared(batch)
        except StorageError as error:
            return _Failure(StorageError, error.what, error.fix)
        except UserError as error:
            return _Failure(DataError, error.what, error.fix)


def _shared(batch: Batch) -> Batch | _Parcel:
    """Return the batch in shared memory, or where that is full, to be copied.

    Left to the queue, a full memory would be an error in a thread of its own, and the batch be waited for for ever.
    """
    try:
        batch.images.share_memory_()
        batch.targets.share_memory_()
        batch.ignored.share_memory_()
    except RuntimeError:
        pixels = batch.images.permute(0, 2, 3, 1).numpy()
        return _Parcel(pixels, batch.targets.numpy(), batch.paths, batch.shapes, batch.ignored.numpy())
    return batch


class _Keys:
    """What the workers are asked for: (epoch, number) of every batch."""

    def __init__(self, count: int) -> None:
        self.count, self.epoch, self.first, self.part = count, 0, 0, (0, 1)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(repeat(self.epoch), self._numbers())

    def __len__(self) -> int:
        return len(self._numbers())

    def _numbers(self) -> range:
        number, parts = self.part
        return range(self.first + number, self.count, parts)


def build_train_loader(
    scan: ScanResult,
    imgsz: int | Sequence[int],
    batch_size: int,
    augment: AugmentConfig,
    seed: int = 0,
    workers: int = 8,
    cache: str | None = None,
    sampling: Sampling = EACH_ONCE,
) -> BatchLoader:
    """Return augmented batches of ``imgsz`` (one side, or height and width); ``shapes`` of a batch is None.

    With ``sampling.rect_stride`` images of similar proportions share a batch as small as they allow, without mosaics.
    Raises: ConfigError.
    """
    store = ImageStore(scan.image_paths, scan.shapes, imgsz, cache, pixels=scan.pixels)
    batch_size = min(batch_size, len(store))
    order = build_order(sampling, store, batch_size, seed)
    augment = augment if sampling.rect_stride is None else augment.without_mosaics()
    batches = TrainBatches(scan, store, order, augment, seed, sampling.part)
    return BatchLoader(batches, worker_count(workers, batch_size))


def join_samples(loader: BatchLoader, seed: int) -> BatchLoader:
    """Return the training batches with four samples in each picture, of twice the size (``--quad``)."""
    return BatchLoader(QuadBatches(loader.batches, seed), loader.workers)


def build_val_loader(
    scan: ScanResult,
    imgsz: int | Sequence[int],
    batch_size: int,
    stride: int = 32,
    workers: int = 8,
    rect: bool = True,
    pad: float = 0.5,
    cache: str | None = None,
) -> BatchLoader:
    """Return letterboxed batches: with ``rect`` as small as their images allow, else of ``imgsz``.

    ``imgsz`` is the side of a square or (height, width), which all images fit into.
    ``pad`` (in strides) is the border that ``rect`` leaves at least in the sum.
    """
    store = ImageStore(scan.image_paths, scan.shapes, imgsz, cache, smooth=True, pixels=scan.pixels)
    batch_size = min(batch_size, len(store))
    return BatchLoader(ValBatches(scan, store, batch_size, stride, rect, pad), worker_count(workers, batch_size))


def worker_count(wanted: int, batch_size: int) -> int:
    """Return how many workers are of use: at most the CPUs per GPU, and none for batches of one image."""
    return min(
        usable_cpus() // max(torch.cuda.device_count(), local_world()), batch_size if batch_size > 1 else 0, wanted
    )


def _start_worker(_: int) -> None:
    """Set up a worker: it shares the CPUs with others, and ends when its parent says so or has ended."""
    cv2.setNumThreads(0)
    keep_small_pieces()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_soon if hasattr(signal, "setitimer") else signal.SIG_DFL)
    if hasattr(signal, "SIGKILL"):  # not on Windows
        end_with_parent(signal.SIGKILL)


def _end_soon(number: int, _: Any) -> None:
    """End in a while: SIGTERM may have been sent to all processes of a run, whose parent still wants its batch."""
    signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), number))
    signal.setitimer(signal.ITIMER_REAL, GRACE_S)
