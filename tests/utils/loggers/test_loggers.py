"""Every logger of the folder takes the same calls; results.csv keeps the reference's form."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

import utils.loggers as loggers_package
from utils.errors import StorageError
from utils.loggers import build_loggers
from utils.loggers._contract import LOGGERS
from utils.loggers.csv import CsvLogger
from utils.loggers.row import epoch_row, headings
from utils.registry import Registry
from utils.runs import ROOT

TERMS = ("box", "obj", "cls")
HEADINGS = headings(TERMS)
ROW = epoch_row(7, TERMS, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6, 0.7), (0.8, 0.9, 1.0), (0.01, 0.02, 0.0333333))


def test_a_row_stands_under_the_reference_headings():
    assert ROW["epoch"] == 7
    assert ROW["train/cls_loss"] == 0.3
    assert ROW["metrics/mAP_0.5:0.95"] == 0.7
    assert ROW["val/box_loss"] == 0.8
    assert ROW["x/lr2"] == 0.0333333
    assert len(HEADINGS) == 14


def test_a_row_with_a_missing_figure_is_refused():
    with pytest.raises(ValueError, match="shorter"):
        epoch_row(0, TERMS, (0.1, 0.2), (0.4, 0.5, 0.6, 0.7), (0.8, 0.9, 1.0), (0.01, 0.01, 0.01))


def test_results_csv_has_right_aligned_columns_of_twenty_characters(tmp_path):
    logger = CsvLogger()
    logger.start(tmp_path)
    logger.epoch(ROW)
    logger.epoch(ROW | {"epoch": 8.0, "train/box_loss": 123456.789})
    logger.finish()

    header, first, second = (tmp_path / "results.csv").read_text().splitlines()
    assert header.startswith("               epoch,      train/box_loss,      train/obj_loss,")
    assert header.endswith(",               x/lr0,               x/lr1,               x/lr2")
    assert ",metrics/mAP_0.5:0.95," in header  # exactly twenty characters
    assert [cell.strip() for cell in header.split(",")] == list(HEADINGS)
    assert first.startswith("                   7,                 0.1,                 0.2,")
    assert first.endswith(",            0.033333")
    assert second.startswith("                   8,          1.2346e+05,")


def test_an_interrupted_write_keeps_the_rows_so_far(tmp_path, monkeypatch):
    logger = CsvLogger()
    logger.start(tmp_path)
    logger.epoch(ROW)
    before = (tmp_path / "results.csv").read_text()

    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        logger.epoch(ROW | {"epoch": 8.0})

    assert (tmp_path / "results.csv").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]


def test_a_table_that_is_open_in_another_program_costs_a_warning_and_is_written_later(tmp_path, monkeypatch, caplog):
    def no_writing(path, text):
        raise StorageError(f"{path}: cannot be written (Access is denied)")

    logger = CsvLogger()
    logger.start(tmp_path)
    with monkeypatch.context() as held:
        held.setattr("utils.loggers.csv.write_text", no_writing)
        logger.epoch(ROW)
        logger.epoch(ROW | {"epoch": 8.0})
    assert "results.csv: cannot be written" in caplog.text
    assert not list(tmp_path.iterdir())

    logger.finish()

    assert [line.split(",")[0].strip() for line in (tmp_path / "results.csv").read_text().splitlines()] == [
        *("epoch", "7", "8")
    ]


class Recorder:
    """A logger that notes what it is told."""

    def __init__(self):
        self.calls = []

    def start(self, run_dir, rows):
        self.calls.append(("start", run_dir, rows))

    def epoch(self, row):
        self.calls.append(("epoch", row["epoch"]))

    def image(self, name, path):
        self.calls.append(("image", name, path))

    def finish(self):
        self.calls.append(("finish",))


def test_build_loggers_starts_those_that_are_installed(tmp_path, monkeypatch):
    table = Registry("logger")
    recorder = Recorder()
    table.register("recorder")(lambda: recorder)
    table.register("not installed")(lambda: None)
    monkeypatch.setattr(loggers_package, "LOGGERS", table)

    assert build_loggers(tmp_path) == [recorder]
    assert recorder.calls == [("start", tmp_path, ())]


@pytest.fixture(params=list(LOGGERS))
def logger(request):
    return LOGGERS.get(request.param)() or pytest.skip(f"{request.param} is not installed")


def test_every_logger_takes_what_a_run_has_to_tell(logger, tmp_path):
    picture = tmp_path / "labels.jpg"
    cv2.imwrite(str(picture), np.zeros((8, 8, 3), np.uint8))

    logger.start(tmp_path)
    logger.epoch(ROW)
    logger.image("labels", picture)
    logger.finish()

    assert len(list(tmp_path.iterdir())) == 2  # the picture and the logger's own file


def test_tensorboard_is_left_out_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    assert [type(logger).__name__ for logger in build_loggers(tmp_path)] == ["CsvLogger"]


def test_tensorboard_holds_thirteen_scalars_and_the_pictures(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / "labels.png"), red)
    logger = LOGGERS.get("tensorboard")()
    logger.start(tmp_path)
    logger.epoch(ROW)
    logger.image("labels", tmp_path / "labels.png")
    logger.finish()

    events = accumulator.EventAccumulator(str(tmp_path)).Reload()

    assert sorted(events.Tags()["scalars"]) == sorted(HEADINGS[1:])
    [event] = events.Scalars("metrics/mAP_0.5")
    assert (event.step, round(event.value, 6)) == (7, 0.6)
    [image] = events.Images("labels")
    decoded = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert (image.step, decoded[0, 0].tolist()) == (7, [0, 0, 255])


def test_pictures_are_read_from_paths_that_opencv_cannot_open(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    folder = tmp_path / "Größe 猫"
    folder.mkdir()
    picture = folder / "labels.png"
    picture.write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1])
    monkeypatch.setattr(cv2, "imread", lambda *_: None)  # what it returns there on Windows
    logger = LOGGERS.get("tensorboard")()
    logger.start(tmp_path)

    logger.image("labels", picture)
    logger.finish()

    assert any(b"labels" in path.read_bytes() for path in tmp_path.glob("events*"))


def test_tensorboard_is_not_imported_before_a_run_starts():
    probe = "import sys, utils.loggers; sys.exit('tensorboard' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", probe], cwd=ROOT).returncode == 0
