"""What killed programs have left beside a drawn data set is removed; what a living one fills or a user owns stays."""

import os
import subprocess
import sys
import time

import pytest

from utils.data.image.draft import draft_folder, remove_left_overs
from utils.data.shapes import dataset as shapes
from utils.runs import ROOT

HOLD = """
import sys
from pathlib import Path
from utils.data.image.draft import draft_folder
with draft_folder(Path(sys.argv[1])) as folder:
    (folder / "new").mkdir()
    print(folder, flush=True)
    sys.stdin.read()
"""


def age(folder, seconds=60):
    os.utime(folder, (time.time() - seconds,) * 2)


@pytest.fixture
def other_program(tmp_path):
    """A program that holds a draft folder until it is killed."""
    program = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "shapes")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield program
    program.kill()
    program.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="there age decides")
def test_the_folder_of_a_living_program_stays_and_that_of_a_killed_one_goes(tmp_path, other_program):
    folder = tmp_path / other_program.stdout.readline().strip().rpartition(os.sep)[2]
    age(folder)
    remove_left_overs(tmp_path / "shapes")
    assert (folder / "new").is_dir()

    other_program.kill()
    other_program.wait()
    age(folder)
    remove_left_overs(tmp_path / "shapes")
    assert not folder.exists()


def test_drawing_the_data_set_removes_left_overs_even_where_it_is_drawn_already(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "COUNTS", {"train": 2, "val": 1})
    for _ in range(2):
        (tmp_path / ".shapes-abcd1234" / "new" / "images").mkdir(parents=True)
        age(tmp_path / ".shapes-abcd1234")

        shapes.draw_shapes_dataset(tmp_path / "shapes")

        assert [path.name for path in tmp_path.iterdir()] == ["shapes"]


def test_folders_of_the_user_and_folders_made_just_now_stay(tmp_path):
    (tmp_path / ".shapes-mine" / "pictures").mkdir(parents=True)
    (tmp_path / ".shapes2-abcd1234" / "new").mkdir(parents=True)
    (tmp_path / ".shapes-link").symlink_to(tmp_path / ".shapes2-abcd1234", target_is_directory=True)
    for name in (".shapes-mine", ".shapes2-abcd1234"):
        age(tmp_path / name)
    (tmp_path / ".shapes-young123").mkdir()
    before = sorted(tmp_path.iterdir())

    remove_left_overs(tmp_path / "shapes")

    assert sorted(tmp_path.iterdir()) == before


def test_a_draft_is_removed_at_the_end_also_of_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), draft_folder(tmp_path / "shapes") as folder:
        (folder / "new").mkdir()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
