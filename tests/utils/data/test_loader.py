"""Loaders: the same data with any number of workers and any cache, each image once an epoch."""

import logging
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from utils.data import batch as batch_module
from utils.data import image_store as store_module
from utils.data.image_store import ImageStore, nominal_sizes
from utils.data.loader import BatchLoader, build_train_loader, build_val_loader, join_samples, worker_count
from utils.data.mosaic.augment import AugmentConfig
from utils.errors import ConfigError, DataError
from utils.pixels import RGB
from utils.runs import ROOT

AUGMENT = AugmentConfig(
    degrees=5,
    translate=0.1,
    scale=0.5,
    fliplr=0.5,
    mosaic=0.8,
    mixup=0.3,
    copy_paste=0.5,
    hsv_h=0.015,
    hsv_s=0.7,
    hsv_v=0.4,
)
SHAPES = [
    (60, 80),
    (120, 90),
    (64, 64),
    (200, 300),
    (90, 120),
    (50, 100),
    (128, 128),
    (96, 64),
    (70, 90),
    (60, 60),
    (40, 90),
]


@pytest.fixture
def scan(tmp_path):
    rng = np.random.default_rng(0)
    paths, labels, segments = [], [], []
    for number, shape in enumerate(SHAPES):
        image = cv2.GaussianBlur(rng.integers(0, 256, (*shape, 3), dtype=np.uint8), (0, 0), 2)
        paths.append(str(tmp_path / f"{number:02}.png"))
        cv2.imwrite(paths[-1], image)
        count = number % 4  # some images have no objects
        centres, sizes = rng.uniform(0.25, 0.75, (count, 2)), rng.uniform(0.2, 0.4, (count, 2))
        labels.append(np.concatenate([np.full((count, 1), number), centres, sizes], 1).astype(np.float32))
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        segments.append([centre + corners * size / 2 for centre, size in zip(centres, sizes, strict=True)])
    ignored = [np.zeros((0, 5), np.float32)] * len(paths)
    facts = {"image_paths": paths, "labels": labels, "segments": segments, "shapes": np.array(SHAPES)}
    return SimpleNamespace(**facts, ignored=ignored, pixels=RGB)


def same(first, second):
    return all(
        torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets) and a.paths == b.paths
        for a, b in zip(first, second, strict=True)
    )


def test_workers_do_not_change_the_batches_of_any_epoch(scan):
    alone = build_train_loader(scan, 64, 4, AUGMENT, seed=3, workers=0)
    helped = BatchLoader(alone.batches, workers=2)
    for epoch in (0, 1, 7):
        alone.set_epoch(epoch)
        helped.set_epoch(epoch)
        assert same(list(alone), list(helped))


def test_workers_end_with_their_loader(scan):
    before = multiprocessing.active_children()
    loader = BatchLoader(build_train_loader(scan, 64, 4, AUGMENT, workers=0).batches, workers=2)
    next(iter(loader))
    assert len(multiprocessing.active_children()) == len(before) + 2

    del loader

    assert multiprocessing.active_children() == before


@pytest.mark.parametrize("mosaic9", [0.5, 1.0])
def test_mosaics_of_nine_with_mixup_and_copies_are_made_by_any_number_of_workers(scan, mosaic9):
    alone = build_train_loader(scan, 64, 4, replace(AUGMENT, mosaic9=mosaic9), seed=3, workers=0)
    four = build_train_loader(scan, 64, 4, AUGMENT, seed=3, workers=0)

    assert same(list(alone), list(BatchLoader(alone.batches, workers=2)))
    assert not same(list(alone), list(four))


def test_a_batch_is_a_function_of_seed_epoch_and_number(scan):
    batches = build_train_loader(scan, 64, 4, AUGMENT, seed=3, workers=0).batches
    later = build_train_loader(scan, 64, 4, AUGMENT, seed=3, workers=0).batches
    other = build_train_loader(scan, 64, 4, AUGMENT, seed=4, workers=0).batches

    reference = batches[5, 2]
    for key in ((0, 0), (9, 1)):
        later[key]

    assert same([reference], [later[5, 2]])
    assert not torch.equal(reference.images, batches[6, 2].images)
    assert not torch.equal(reference.images, other[5, 2].images)


def test_pictures_are_mixed_by_the_beta_distribution_of_the_reference(scan, monkeypatch):
    shares = []

    def paint(self, drawing, sample, first_share, load, out, part):
        shares.extend(first_share)
        return np.zeros((len(part), 64, 64, 3), np.uint8)

    monkeypatch.setattr("utils.data.train_batches.Painter.paint", paint)
    loader = build_train_loader(scan, 64, len(SHAPES), AugmentConfig(mosaic=1.0, mixup=1.0), workers=0)

    for epoch in range(20):
        loader.batches[epoch, 0]

    assert len(set(shares)) == 20 * len(SHAPES)
    assert np.mean(shares) == pytest.approx(1 / 2, abs=0.01)  # of Beta(32, 32): mean, and deviation √(1 / 4 / 65)
    assert np.std(shares) == pytest.approx(0.0620, abs=0.01)


def test_global_random_state_is_left_alone(scan):
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    list(build_train_loader(scan, 64, 4, AUGMENT, workers=0))

    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


def test_every_epoch_shows_each_image_once_in_a_new_order(scan):
    loader = build_train_loader(scan, 64, 4, AUGMENT, workers=0)
    orders = []
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        orders.append([path for batch in loader for path in batch.paths])

    assert sorted(orders[0]) == sorted(orders[1]) == scan.image_paths
    assert orders[0] != orders[1]


def test_the_last_batch_is_smaller_and_a_batch_is_at_most_the_data_set(scan):
    assert [len(batch.images) for batch in build_train_loader(scan, 64, 4, AUGMENT, workers=0)] == [4, 4, 3]
    assert [len(batch.images) for batch in build_train_loader(scan, 64, 100, AUGMENT, workers=0)] == [11]
    assert len(build_train_loader(scan, 64, 4, AUGMENT, workers=0)) == 3


def test_batches_are_channels_last_bytes_with_sorted_normalised_targets(scan):
    for batch in build_train_loader(scan, 64, 4, AUGMENT, workers=0):
        assert batch.images.dtype == torch.uint8
        assert batch.images.shape[1:] == (3, 64, 64)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert batch.targets.dtype == torch.float32
        assert torch.equal(batch.targets[:, 0], batch.targets[:, 0].sort().values)
        assert batch.targets[:, 2:].min() >= 0
        assert batch.targets[:, 2:].max() <= 1
        assert batch.shapes is None


@pytest.mark.parametrize("batch_size", [1, 2, 11])
def test_a_data_set_without_any_object_gives_empty_targets(scan, batch_size):
    scan.labels = [np.zeros((0, 5), np.float32) for _ in scan.labels]
    scan.segments = [[] for _ in scan.labels]

    for batch in build_train_loader(scan, 64, batch_size, AUGMENT, workers=0):
        assert batch.targets.shape == (0, 6)


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_caches_do_not_change_the_batches(scan, cache):
    plain = list(build_train_loader(scan, 64, 4, AUGMENT, workers=0))

    cached = build_train_loader(scan, 64, 4, AUGMENT, workers=0, cache=cache)

    assert same(plain, list(cached))
    assert same(plain, list(cached))  # the second time from what the first has stored
    assert same(
        list(build_val_loader(scan, 64, 4, workers=0)), list(build_val_loader(scan, 64, 4, workers=0, cache=cache))
    )


def test_the_disk_cache_is_read_notices_changes_and_lies_outside_the_data_set(scan, tmp_path, monkeypatch):
    files = sorted(tmp_path.iterdir())
    first = ImageStore(scan.image_paths, scan.shapes, 64, "disk").load(3)
    monkeypatch.setattr(store_module, "read_image", lambda path: pytest.fail("decoded again"))
    assert np.array_equal(ImageStore(scan.image_paths, scan.shapes, 64, "disk").load(3), first)
    monkeypatch.undo()

    cv2.imwrite(scan.image_paths[3], np.full((200, 300, 3), 7, np.uint8))

    assert (ImageStore(scan.image_paths, scan.shapes, 64, "disk").load(3) == 7).all()
    assert sorted(tmp_path.iterdir()) == files


def test_a_damaged_cache_file_is_written_again(scan):
    store = ImageStore(scan.image_paths, scan.shapes, 64, "disk")
    first = store.load(0)
    store._cache_file(0).write_bytes(b"\x93NUMPY half a file")

    assert np.array_equal(store.load(0), first)
    assert store._cache_file(0).stat().st_size > 100


@pytest.mark.parametrize(("cache", "limit"), [("ram", "available_memory"), ("disk", "free_disk")])
def test_a_cache_that_does_not_fit_is_left_out_and_said_so(scan, cache, limit, monkeypatch, caplog):
    monkeypatch.setattr(store_module, limit, lambda: 1000)

    with caplog.at_level(logging.WARNING):
        store = ImageStore(scan.image_paths, scan.shapes, 64, cache)

    assert store.cache is None
    assert "not cached" in caplog.text


def test_an_unknown_cache_is_refused(scan):
    with pytest.raises(ConfigError, match="'rom'"):
        build_train_loader(scan, 64, 4, AUGMENT, workers=0, cache="rom")


def test_an_image_that_changed_its_size_after_the_scan_is_named(scan):
    cv2.imwrite(scan.image_paths[0], np.zeros((10, 10, 3), np.uint8))

    with pytest.raises(DataError, match=r"00\.png"):
        list(build_train_loader(scan, 64, 4, AUGMENT, workers=0))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_a_data_error_in_a_worker_too(scan, workers):
    loader = BatchLoader(build_train_loader(scan, 64, 4, AUGMENT, workers=0).batches, workers)
    with open(scan.image_paths[2], "wb") as file:
        file.write(b"not an image")

    with pytest.raises(DataError, match=r"^cannot decode .*02\.png.*\nfix: "):
        list(loader)


@pytest.mark.parametrize("pool", [1, 2, 4])
def test_a_batch_of_mosaics_reads_pool_times_its_size(scan, pool, monkeypatch):
    augment = AugmentConfig(mosaic=1.0)
    batches = build_train_loader(scan, 64, 8, replace(augment, mosaic_pool=pool), workers=0).batches
    read = []
    load = batches.store.load
    monkeypatch.setattr(batches.store, "load", lambda index: read.append(index) or load(index))

    batches[0, 0]

    assert len(read) == len(set(read)) <= 8 * pool


def test_large_images_are_shrunk_and_small_ones_kept(scan):
    store = ImageStore(scan.image_paths, scan.shapes, 100)

    assert store.load(3).shape == (67, 100, 3)  # 200×300: 66.7 rounded up
    assert store.load(2).shape == (64, 64, 3)
    assert nominal_sizes(np.array([[500, 333], [281, 100]]), 640).tolist() == [[427, 640], [228, 640]]


def test_worker_count_is_bounded_by_cpus_and_batch(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    assert worker_count(8, 16) == 4
    assert worker_count(2, 16) == 2
    assert worker_count(8, 3) == 3
    assert worker_count(8, 1) == 0


@pytest.mark.parametrize("kind", ["train", "val", "quad"])
def test_a_worker_makes_images_where_the_other_process_finds_them(scan, monkeypatch, kind):
    train = build_train_loader(scan, 64, 4, AUGMENT, workers=0)
    loaders = {"train": train, "val": build_val_loader(scan, 64, 2, workers=0), "quad": join_samples(train, 0)}

    assert not loaders[kind].batches[0, 0].images.is_shared()
    monkeypatch.setattr(batch_module, "get_worker_info", lambda: "a worker")
    assert loaders[kind].batches[0, 0].images.is_shared(), "copied at the end, a picture is written twice"


def test_a_full_shared_memory_costs_a_copy_and_nothing_else(scan, monkeypatch, caplog):
    def full(*_):
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)"
        )

    expected = list(build_train_loader(scan, 64, 2, AUGMENT, workers=0))
    monkeypatch.setattr(torch.Tensor, "share_memory_", full)  # in the workers too, which are forked
    monkeypatch.setattr(torch.UntypedStorage, "_new_shared", full)
    caplog.set_level("WARNING")

    batches = list(build_train_loader(scan, 64, 2, AUGMENT, workers=1))

    assert len(batches) == len(expected) > 1
    for ours, theirs in zip(batches, expected, strict=True):
        assert torch.equal(ours.images, theirs.images) and torch.equal(ours.targets, theirs.targets)
        assert ours.images.is_contiguous(memory_format=torch.channels_last)
        assert ours.paths == theirs.paths
    assert caplog.text.count("shared memory (/dev/shm) is full") == 1


ENDLESS = """
import os, time
from dataclasses import dataclass
from pathlib import Path
from utils.command import run_command
from utils.data import loader
class Batches:
    def __len__(self): return 2
    def __getitem__(self, key):
        Path(os.environ["BUSY"], str(os.getpid())).touch()
        time.sleep(600)
@dataclass(frozen=True)
class Config: ...
run_command(lambda _: list(loader.BatchLoader(Batches(), workers=2)), Config)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell a process that its parent has ended")
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -9), (signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_workers_end_with_their_parent(endless, number, code):
    parent, workers = endless
    parent.send_signal(number)
    assert parent.wait(60) == code

    assert wait_for(lambda: not any(is_running(worker) for worker in workers))
    assert "Traceback" not in parent.stderr.read()


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the workers in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_worker_that_is_killed_is_one_sentence(endless, number):
    parent, workers = endless
    os.kill(int(workers[0]), number)

    assert parent.wait(60) == 2
    error = parent.stderr.read()
    assert error.startswith("error: a process that loads images was ended") and error.count("\n") == 2
    assert wait_for(lambda: not is_running(workers[1]))


@pytest.fixture
def endless(tmp_path):
    """A command whose two workers never give a batch, and the ids of these."""
    options = {"cwd": ROOT, "env": os.environ | {"BUSY": str(tmp_path)}, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", ENDLESS], **options) as parent:
        try:
            assert wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
            yield parent, sorted(path.name for path in tmp_path.iterdir())
        finally:
            parent.kill()


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    return None
