"""Every logger of the folder takes the same calls; results.csv keeps the reference's form."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

import utils.loggers as loggers_package
from utils.config import option_fields
from utils.configs.train import TrainConfig
from utils.errors import ConfigError, StorageError
from utils.loggers import build_loggers, check_loggers
from utils.loggers._contract import LOGGERS, Run
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
    logger.start(Run(tmp_path))
    logger.epoch(ROW)
    logger.epoch(ROW | {"epoch": 8.0, "train/box_loss": 123456.789})
    logger.finish(True)

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
    logger.start(Run(tmp_path))
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
    logger.start(Run(tmp_path))
    with monkeypatch.context() as held:
        held.setattr("utils.loggers.csv.write_text", no_writing)
        logger.epoch(ROW)
        logger.epoch(ROW | {"epoch": 8.0})
    assert "results.csv: cannot be written" in caplog.text
    assert not list(tmp_path.iterdir())

    logger.finish(True)

    assert [line.split(",")[0].strip() for line in (tmp_path / "results.csv").read_text().splitlines()] == [
        *("epoch", "7", "8")
    ]


class Recorder:
    """A logger that notes what it is told, and fails in the method ``fails_in``."""

    def __init__(self, fails_in=None):
        self.calls, self.fails_in = [], fails_in

    def __getattr__(self, method):
        def call(*values):
            self.calls.append((method, *values))
            if method == self.fails_in:
                raise ConnectionError("no\nroute")

        return call


@pytest.fixture
def table(monkeypatch):
    """A table of loggers with a recorder as ``csv``, and one as ``mine``."""
    table = Registry("logger")
    table.recorders = {name: Recorder() for name in ("csv", "mine")}
    for name, recorder in table.recorders.items():
        table.register(name)(lambda recorder=recorder: recorder)
    monkeypatch.setattr(loggers_package, "LOGGERS", table)
    return table


def test_only_the_table_is_written_where_no_other_logger_is_asked_for(table, tmp_path):
    run = Run(tmp_path)

    assert build_loggers(run) == [table.recorders["csv"]]

    assert table.recorders["csv"].calls == [("start", run)]
    assert table.recorders["mine"].calls == []


def test_a_logger_that_is_asked_for_twice_is_started_once(table, tmp_path):
    assert len(build_loggers(Run(tmp_path), ("mine", "mine"))) == 2

    assert table.recorders["mine"].calls == [("start", Run(tmp_path))]


@pytest.mark.parametrize(("fails_in", "told"), [("start", 1), ("epoch", 2), ("image", 3), ("file", 4), ("finish", 5)])
def test_a_logger_that_fails_is_dropped_with_one_warning(table, tmp_path, caplog, fails_in, told):
    mine = table.recorders["mine"]
    mine.fails_in = fails_in

    _, guarded = build_loggers(Run(tmp_path), ("mine",))
    guarded.epoch(ROW)
    guarded.image("labels", tmp_path)
    guarded.file(tmp_path)
    guarded.finish(True)

    assert [method for method, *_ in mine.calls] == ["start", "epoch", "image", "file", "finish"][:told]
    assert [record.getMessage() for record in caplog.records] == [
        "--logger mine failed and is left out from here on, the run goes on: ConnectionError: no route"
    ]


def test_signals_pass_through_a_guard(table, tmp_path, monkeypatch):
    _, guarded = build_loggers(Run(tmp_path), ("mine",))
    monkeypatch.setattr(table.recorders["mine"], "epoch", lambda row: sys.exit(143))

    with pytest.raises(SystemExit):
        guarded.epoch(ROW)


def test_the_option_names_every_logger_but_the_table():
    option = next(field for field in option_fields(TrainConfig) if field.name == "logger")

    assert sorted(("csv", *option.metadata["choices"])) == sorted(LOGGERS)
    assert option.default == ()


def test_a_missing_package_is_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(ConfigError) as error:
        check_loggers(("tensorboard",))

    assert error.value.what == "--logger tensorboard: the package tensorboard is not installed"
    assert error.value.fix == "pip install tensorboard"


def test_a_folder_that_a_service_has_left_is_not_taken_for_its_package(tmp_path, monkeypatch):
    (tmp_path / "left_over_runs").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(ConfigError):
        check_loggers(("left_over_runs",))


@pytest.fixture(params=("csv", "tensorboard"))
def logger(request):
    pytest.importorskip("tensorboard")
    return LOGGERS.get(request.param)()


def test_every_local_logger_takes_what_a_run_has_to_tell(logger, tmp_path):
    picture = tmp_path / "labels.jpg"
    cv2.imwrite(str(picture), np.zeros((8, 8, 3), np.uint8))

    logger.start(Run(tmp_path))
    logger.epoch(ROW)
    logger.image("labels", picture)
    logger.file(picture)
    logger.finish(True)

    assert len(list(tmp_path.iterdir())) == 2  # the picture and the logger's own file


def test_tensorboard_holds_thirteen_scalars_and_the_pictures(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / "labels.png"), red)
    logger = LOGGERS.get("tensorboard")()
    logger.start(Run(tmp_path))
    logger.epoch(ROW)
    logger.image("labels", tmp_path / "labels.png")
    logger.finish(True)

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
    logger.start(Run(tmp_path))

    logger.image("labels", picture)
    logger.finish(True)

    assert any(b"labels" in path.read_bytes() for path in tmp_path.glob("events*"))


def test_no_foreign_package_is_imported_before_a_run_starts():
    probe = "import sys, utils.loggers; sys.exit(bool({'tensorboard', 'mlflow', 'wandb'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", probe], cwd=ROOT).returncode == 0
