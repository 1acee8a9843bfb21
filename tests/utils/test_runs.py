"""Files are written on every system, also where another program holds them; caches need a folder, or say so."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from utils import runs
from utils.errors import ConfigError, StorageError
from utils.runs import (
    ROOT,
    atomic_write,
    cache_dir,
    lock_folder,
    new_run_dir,
    newest_weights,
    remove_leftovers,
    write_text,
)


@pytest.fixture
def windows(monkeypatch):
    """A system where folders cannot be opened as files are."""
    opened = os.open

    def open_file(path, *args, **options):
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir would be a detour
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **options)

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "open", open_file)


@pytest.fixture
def held(monkeypatch):
    """Let the next ``held["times"]`` renames fail as they do while a file is open elsewhere; sum up the waiting."""
    state = {"times": 0, "waited": 0.0}
    replace = Path.replace

    def fail(self, target):
        if state["times"]:
            state["times"] -= 1
            raise PermissionError(13, "Access is denied", str(target))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    monkeypatch.setattr(time, "sleep", lambda seconds: state.update(waited=state["waited"] + seconds))
    return state


def test_a_file_is_written_where_folders_cannot_be_opened(windows, tmp_path):
    write_text(tmp_path / "x.txt", "new")

    assert (tmp_path / "x.txt").read_text() == "new"


def test_a_file_that_a_virus_scanner_holds_for_a_moment_is_written(held, tmp_path):
    held["times"] = 3

    write_text(tmp_path / "x.txt", "new")

    assert (tmp_path / "x.txt").read_text() == "new"


def test_a_file_that_stays_open_elsewhere_is_a_storage_error_and_intact(held, tmp_path):
    (tmp_path / "x.txt").write_text("old")
    held["times"] = 99

    with pytest.raises(StorageError, match=r"x\.txt: cannot be written \(Access is denied\)") as error:
        write_text(tmp_path / "x.txt", "new")

    assert "close the programs" in error.value.fix
    assert 0.5 < held["waited"] < 2
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_full_disk_asks_for_space(tmp_path):
    with pytest.raises(StorageError) as error, atomic_write(tmp_path / "x.txt"):
        raise OSError(28, "No space left on device")

    assert error.value.fix.startswith("free some space")


def test_without_a_home_folder_the_cache_asks_for_one(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)

    with pytest.raises(StorageError, match="no folder for caches") as error:
        cache_dir("images")

    assert error.value.fix.startswith("set XDG_CACHE_HOME")


def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    with pytest.raises(StorageError, match="file/yolo-backbones/images: cannot make this folder") as error:
        cache_dir("images")

    assert error.value.fix.startswith("set XDG_CACHE_HOME")


KILLED = """
import os, signal, sys
from utils.runs import atomic_write
with atomic_write(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def aged(file, seconds=5):
    """Make the file as old as if it had been written some seconds ago."""
    os.utime(file, (time.time() - seconds, time.time() - seconds))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="locks of POSIX")
def test_what_a_killed_run_left_is_removed_at_the_next_start(tmp_path):
    weights = tmp_path / "exp" / "weights"
    weights.mkdir(parents=True)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(weights / "best.pt")], cwd=ROOT)
    (left,) = weights.iterdir()
    aged(left)
    others = {weights / ".notes.tmp.pt", weights / "last.pt"}
    for file in others:
        file.write_text("mine")
        aged(file)

    with atomic_write(weights / "busy.pt") as busy:
        busy.write_text("half")
        aged(busy)
        new_run_dir(tmp_path, "exp")

        assert killed.returncode == -9
        assert set(weights.iterdir()) == {busy} | others


def test_only_leftovers_of_one_file_are_removed_where_asked(tmp_path):
    own, other = tmp_path / ".a.abcdefgh.tmp.onnx", tmp_path / ".b.abcdefgh.tmp.onnx"
    for file in (own, other):
        file.write_text("half")
        aged(file)

    remove_leftovers(tmp_path, "a")

    assert list(tmp_path.iterdir()) == [other]


def test_a_run_folder_lies_in_the_current_folder_and_is_named_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert new_run_dir("runs/train", "exp") == tmp_path / "runs/train/exp"
    assert new_run_dir(tmp_path / "elsewhere", "exp") == tmp_path / "elsewhere/exp"


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone, and another folder in which the user is."""
    monkeypatch.setattr(runs, "ROOT", tmp_path / "clone")
    (tmp_path / "user").mkdir()
    monkeypatch.chdir(tmp_path / "user")
    return tmp_path / "clone"


def weights_in(folder, name, age):
    file = folder / f"runs/train/{name}/weights/best.pt"
    file.parent.mkdir(parents=True)
    file.touch()
    os.utime(file, ns=(0, 10**18 - age))
    return file


def test_the_newest_weights_of_the_current_folder_are_taken_and_named_whole(clone, caplog):
    caplog.set_level("INFO")
    weights_in(Path.cwd(), "exp", age=9)
    newest = weights_in(Path.cwd(), "exp2", age=5)
    weights_in(clone, "exp", age=1)

    assert newest_weights() == newest
    assert str(newest) in caplog.text


def test_without_weights_the_message_says_where_it_looked_and_names_those_of_the_clone(clone):
    with pytest.raises(ConfigError) as nothing:
        newest_weights()
    other = weights_in(clone, "exp", age=1)
    with pytest.raises(ConfigError) as elsewhere:
        newest_weights()

    assert str(Path.cwd() / "runs/train/*/weights/best.pt") in nothing.value.what
    assert nothing.value.fix == "train first, or name a file"
    assert elsewhere.value.fix == f"--weights {other}, or start in {clone}"


def test_a_run_that_starts_leaves_the_second_name_of_a_file_that_is_kept(tmp_path, monkeypatch):
    for name in ("last.pt", "last.prev.pt"):
        (tmp_path / name).write_text(name)
        aged(tmp_path / name)
    link = os.link

    def link_and_start(*names):
        link(*names)
        remove_leftovers(tmp_path)

    monkeypatch.setattr(os, "link", link_and_start)
    with atomic_write(tmp_path / "last.pt", tmp_path / "last.prev.pt") as temporary:
        temporary.write_text("new")

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"last.pt": "new", "last.prev.pt": "last.pt"}


def test_without_hard_links_the_old_file_is_kept_too(tmp_path, monkeypatch):
    def no_links(*names):
        raise PermissionError(1, "Operation not permitted")

    (tmp_path / "last.pt").write_text("old")
    monkeypatch.setattr(os, "link", no_links)
    with atomic_write(tmp_path / "last.pt", tmp_path / "last.prev.pt") as temporary:
        temporary.write_text("new")

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"last.pt": "new", "last.prev.pt": "old"}


def test_a_folder_that_is_gone_is_a_storage_error(tmp_path):
    for write in (lambda folder: write_text(folder / "x.txt", "new"), lock_folder):
        with pytest.raises(StorageError, match=r"\(No such file or directory\)"):
            write(tmp_path / "gone")
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "x.txt"):
        (tmp_path / "another file").read_text()
