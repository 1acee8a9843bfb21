"""A run that is ended anywhere leaves a state to go on with, on the disk and not in memory alone."""

import copy
import errno
import os
import shutil
import signal
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from run_states import differing, read_run
from tiny_detector import write_tiny_project

import train
from utils.data.loader import BatchLoader
from utils.errors import StorageError
from utils.training import loop

SETTINGS = {"cfg": "tiny.yaml", "data": "pets.yaml", "imgsz": 64, "epochs": 2, "batch_size": 1}
SETTINGS |= {"workers": 0, "device": "cpu", "plots": False, "report": False}
MAIN = ("last.pt", "last.prev.pt", "best.pt")


class Journal:
    """Records what is done to the files of a folder, and what a kill before each operation would leave there.

    ``fails`` may raise instead of an operation, which it is asked by kind, target and number of its like so far.
    """

    def __init__(self, folder, patch, fails=lambda kind, target, number: None):
        self.folder, self.fails = folder, fails
        self.done = []  # (kind, source, target): names in the folder; "." is the folder
        self.left = []  # before each of them, the content of every file
        for owner, name in ((Path, "replace"), (Path, "unlink"), (Path, "write_bytes"), (os, "link"), (os, "fsync")):
            patch.setattr(owner, name, getattr(self, name)(getattr(owner, name)))

    def note(self, kind, source, target=None):
        self.left.append({path.name: path.read_bytes() for path in self.folder.iterdir()})
        number = sum(done[::2] == (kind, target) for done in self.done)
        self.done.append((kind, source, target))
        self.fails(kind, target, number)

    def has(self, path):
        return self.folder.is_dir() and Path(path).parent == self.folder

    def replace(self, work):
        def replace(path, target):
            if self.has(target):
                self.note("replace", path.name, Path(target).name)
            return work(path, target)

        return replace

    def unlink(self, work):
        def unlink(path, missing_ok=False):
            if self.has(path) and path.exists():
                self.note("unlink", path.name)
            return work(path, missing_ok)

        return unlink

    def write_bytes(self, work):
        def write_bytes(path, data):
            if self.has(path):
                work(path, bytes(data)[: len(data) // 2])
                self.note("write", path.name, path.name.split(".")[1])
            return work(path, data)

        return write_bytes

    def link(self, work):
        def link(source, target):
            if self.has(target):
                self.note("link", Path(source).name, Path(target).name)
            return work(source, target)

        return link

    def fsync(self, work):
        def fsync(number):
            if self.folder.is_dir():
                inodes = {path.stat().st_ino: path.name for path in self.folder.iterdir()}
                name = (inodes | {self.folder.stat().st_ino: "."}).get(os.fstat(number).st_ino)
                if name:
                    self.note("fsync", name, name.split(".")[1])
            return work(number)

        return fsync


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run that nothing stops, and its journal."""
    folder = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.chdir(folder)
        write_tiny_project()
        journal = Journal(folder / "runs/train/exp/weights", patch)
        journal.run_dir = run()
    return journal


@pytest.fixture
def project(straight, monkeypatch):
    """Its working folder, without runs but its own."""
    folder = straight.run_dir.parents[2]
    monkeypatch.chdir(folder)
    yield folder
    shutil.rmtree(folder / "again", ignore_errors=True)


def run(**options):
    """Train anew, or resume; return the run folder."""
    return Path(train.run(**options if "resume" in options else SETTINGS | options).save_dir)


def assert_equal_runs(first, second):
    for name in ("last.pt", "best.pt"):
        assert differing(read_run(first, name), read_run(second, name)) == []
    assert (first / "results.csv").read_bytes() == (second / "results.csv").read_bytes()


def test_a_file_is_synced_before_it_gets_its_name_and_the_folder_after(straight):
    written, published = set(), []
    for index, (kind, source, target) in enumerate(straight.done):
        if kind == "write":
            written.add(source)
        elif kind == "fsync":
            written.discard(source)
        elif kind == "replace" and target in ("last.pt", "best.pt"):
            published.append(target)
            assert source not in written
            assert straight.done[index + 1] == ("fsync", ".", "")

    assert published == ["last.pt", "best.pt", "last.pt", "last.pt", "last.pt"]


def test_at_every_moment_the_newest_state_and_the_one_before_are_there(straight):
    states = [{}]
    for files in [*straight.left, {name: (straight.folder / name).read_bytes() for name in MAIN}]:
        assert "last.pt" in files or len(states) == 1
        if files.get("last.pt", states[-1]) != states[-1]:
            states.append(files["last.pt"])
            assert files.get("last.prev.pt", states[0]) == states[-2]
        elif len(states) > 2:
            assert files["last.prev.pt"] in states[-2:]

    assert len(states) == 1 + 4


def test_a_run_that_was_killed_anywhere_ends_as_one_that_was_not(straight, project):
    left = {}
    for files in straight.left:
        if "last.pt" in files:
            key = tuple(files.get(name) for name in MAIN)
            left[key] = max(files, left.get(key, {}), key=len)
    assert len(left) == 8 and sum(len(files.keys() - MAIN) for files in left.values()) >= 8

    for files in left.values():
        weights = project / "again/exp/weights"
        shutil.rmtree(weights.parents[1], ignore_errors=True)
        weights.mkdir(parents=True)
        for name, content in files.items():
            (weights / name).write_bytes(content)
            os.utime(weights / name, (1e9, 1e9))

        assert_equal_runs(straight.run_dir, run(resume=weights))
        assert {path.name for path in weights.iterdir()} == set(MAIN)


def test_a_second_kill_leaves_no_second_name_of_the_last_state(straight, project):
    before = next(n for n, op in enumerate(straight.done) if op[::2] == ("replace", "last.pt") and n > 10)
    weights = project / "again/exp/weights"
    weights.mkdir(parents=True)
    for name in ("last.pt", "best.pt"):
        (weights / name).write_bytes(straight.left[before][name])
    os.link(weights / "last.pt", weights / "last.prev.pt")  # as between the two renames

    run(resume=weights)

    assert {path.name for path in weights.iterdir()} == set(MAIN)


@pytest.mark.parametrize(
    ("kind", "target", "number", "code"),
    [
        ("write", "last", 1, errno.ENOSPC),
        ("fsync", "last", 2, errno.EIO),
        ("replace", "last.prev.pt", 1, errno.ENOSPC),
        ("replace", "last.pt", 3, errno.EDQUOT),
        ("fsync", "best", 0, errno.ENOSPC),
    ],
)
def test_a_disk_that_fails_while_saving_costs_nothing_that_was_saved(
    straight, project, monkeypatch, caplog, kind, target, number, code
):
    def fails(*operation):
        if operation == (kind, target, number):
            raise OSError(code, os.strerror(code))

    weights = project / "again/exp/weights"
    with monkeypatch.context() as patch:
        journal = Journal(weights, patch, fails)
        with pytest.raises(StorageError, match=rf"t\.pt: cannot be written \({os.strerror(code)}\)"):
            run(project="again")

    assert {path.name for path in weights.iterdir()} <= set(MAIN)
    assert (weights / "last.pt").read_bytes() == journal.left[-1]["last.pt"]
    assert f"to go on from there: --resume {weights.parent}" in caplog.text
    assert_equal_runs(straight.run_dir, run(resume=weights))


@pytest.mark.parametrize("folder", [".", "weights"])
def test_a_folder_that_cannot_be_written_is_said_before_training(straight, project, monkeypatch, folder):
    run_dir = shutil.copytree(straight.run_dir, project / "again/exp")
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    opened = os.open

    def read_only(path, flags, *args, **options):
        made = Path(path) if Path(path).is_dir() else Path(path).parent
        if flags & os.O_CREAT | flags & os.O_RDWR and made == run_dir / folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(loop, "train_epoch", None)
    with pytest.raises(StorageError, match=r"no file can be made in it \(Permission denied\)") as error:
        run(resume=run_dir, epochs=3)

    assert error.value.exit_code == 5
    after = {path: path.read_bytes() for path in before if path.suffix == ".pt"}
    assert after.items() <= before.items()


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("states", "resumed", "answer"),
    [(0.3, False, "error"), (2, False, "warning"), (4, False, ""), (2, True, ""), (0.3, True, "error")],
)
def test_room_for_three_states_is_asked_for_at_the_start(
    straight, project, monkeypatch, caplog, states, resumed, answer
):
    free = int(states * (straight.folder / "last.pt").stat().st_size)
    if resumed:
        shutil.copytree(straight.run_dir, project / "again/exp")
    options = {"resume": project / "again/exp"} if resumed else {"project": "again", "epochs": 1}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - free, free))

    if answer == "error":
        monkeypatch.setattr(loop, "train_epoch", None)
        with pytest.raises(StorageError, match=rf"free are {free / 2**20:.1f} MiB"):
            run(**options)
    else:
        run(**options)
        assert (f"free are {free / 2**20:.1f} MiB: a save may fail" in caplog.text) == (answer == "warning")


@pytest.mark.parametrize("signalled", [True, False])
def test_loaders_that_a_signal_ended_too_cost_no_batch(straight, project, monkeypatch, signalled):
    """As SLURM sends it, to all processes of a run, while the next batch is waited for."""
    work = BatchLoader.__iter__

    def two_batches(self):
        yield from (batch for batch, _ in zip(work(self), range(2), strict=False))
        if signalled:
            signal.raise_signal(signal.SIGINT)
        raise RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(BatchLoader, "__iter__", two_batches)
        with pytest.raises(KeyboardInterrupt if signalled else RuntimeError):
            run(project="again")

    run_dir = project / "again/exp"
    assert (run_dir / "weights/last.pt").exists() == signalled
    if signalled:
        state = copy.copy(read_run(run_dir)["state of the run"])
        assert (state["epoch"], state["batch"]) == (0, 2)
        assert_equal_runs(straight.run_dir, run(resume=run_dir))


def test_the_newest_run_may_have_only_the_state_before_the_last(straight, project, monkeypatch):
    run_dir = shutil.copytree(straight.run_dir, project / "again/runs/train/exp")
    (run_dir / "weights/last.pt").unlink()
    shutil.copy(project / "pets.yaml", project / "again/pets.yaml")
    monkeypatch.chdir(project / "again")

    assert run(resume=True) == run_dir
    assert torch.load(run_dir / "weights/last.pt", weights_only=True)["epoch"] == 1
