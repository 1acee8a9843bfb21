"""What MLflow and Weights & Biases are told, by fakes that record the calls: they are no requirement of the tests."""

import sys
from importlib.machinery import ModuleSpec
from math import nan
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from utils.loggers import build_loggers, check_loggers
from utils.loggers._contract import Run
from utils.loggers.row import epoch_row
from utils.yaml_file import read_yaml

TERMS = ("box", "obj", "cls")


def row(epoch, measured=0.5):
    return epoch_row(epoch, TERMS, (1, 2, 3), (measured,) * 4, (4, 5, 6), (0.01, 0.02, 0.03))


class Fake:
    """Notes every call of a method, and answers with ``answers[method]``."""

    def __init__(self, **answers):
        self.calls, self.answers = [], answers

    def __getattr__(self, method):
        def call(*values, **named):
            self.calls.append((method, values, named))
            return self.answers.get(method)

        return call

    def of(self, method):
        return [(*values, *named.values()) for name, values, named in self.calls if name == method]


def module(monkeypatch, name, **content):
    found = ModuleType(name)
    found.__spec__ = ModuleSpec(name, None, origin="fake")
    found.__path__ = []
    vars(found).update(content)
    monkeypatch.setitem(sys.modules, name, found)
    return found


@pytest.fixture
def mlflow(monkeypatch):
    """The client, with the address that it was made for as ``uri``."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    run = SimpleNamespace(info=SimpleNamespace(run_id="r1"))
    client = Fake(create_run=run, create_experiment="e1")

    def connect(tracking_uri):
        client.uri = tracking_uri
        return client

    module(monkeypatch, "mlflow")
    module(monkeypatch, "mlflow.tracking", MlflowClient=connect)
    return client


@pytest.fixture
def wandb(monkeypatch):
    """The run; what ``init`` was given is its ``options``."""
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    run = Fake()
    run.options = []

    def init(**options):
        run.options.append(options)
        return run

    module(monkeypatch, "wandb", init=init, Image=lambda path: ("image", path), Settings=dict)
    return run


def start(name, run):
    check_loggers((name,))
    return build_loggers(run, (name,))[1]


def test_mlflow_gets_settings_figures_pictures_and_files(mlflow, tmp_path):
    folder = tmp_path / "train" / "exp"
    folder.mkdir(parents=True)
    logger = start("mlflow", Run(folder, {"epochs": 3, "hyp/lr0": 0.01, "names": "x" * 9000}))
    logger.epoch(row(0))
    logger.image("labels", folder / "labels.jpg")
    logger.file(folder / "hyp.yaml")
    logger.finish(True)

    assert mlflow.uri == f"sqlite:///{folder.parent.as_posix()}/mlflow.db"
    assert mlflow.of("create_experiment") == [("yolo-backbones", (folder.parent / "mlartifacts").as_uri())]
    assert mlflow.of("create_run") == [("e1", "exp")]
    assert mlflow.of("log_param")[:2] == [("r1", "epochs", "3"), ("r1", "hyp/lr0", "0.01")]
    assert mlflow.of("log_param")[2] == ("r1", "names", "x" * 500)
    figures = {name: (value, step) for _, name, value, step in mlflow.of("log_metric")}
    assert len(figures) == 13
    assert figures["train/obj_loss"] == (2, 0)
    assert figures["metrics/mAP_0.5-0.95"] == (0.5, 0)  # a colon is no character of a name there
    assert mlflow.of("log_artifact") == [
        ("r1", str(folder / "labels.jpg"), "pictures"),
        ("r1", str(folder / "hyp.yaml")),
    ]
    assert mlflow.of("set_terminated") == [("r1", "FINISHED")]


def test_mlflow_goes_where_its_own_variables_lead(mlflow, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://tracking.example")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "cats")
    mlflow.answers["get_experiment_by_name"] = SimpleNamespace(experiment_id="e7")

    start("mlflow", Run(tmp_path))

    assert mlflow.uri == "https://tracking.example"
    assert mlflow.of("get_experiment_by_name") == [("cats",)]
    assert mlflow.of("create_experiment") == []
    assert mlflow.of("create_run") == [("e7", tmp_path.name)]


def test_a_resumed_run_goes_on_in_the_same_run_of_mlflow_with_the_epoch_that_was_lost(mlflow, tmp_path):
    logger = start("mlflow", Run(tmp_path, {"epochs": 3}))
    logger.epoch(row(0))
    logger.finish(False)
    mlflow.calls.clear()

    logger = start("mlflow", Run(tmp_path, {"epochs": 9}, rows=[row(0), row(1)], goes_on=True))
    logger.epoch(row(1))  # trained again from an older state
    logger.epoch(row(2))

    assert mlflow.of("create_run") == mlflow.of("log_param") == []  # a parameter can be written once
    assert mlflow.of("update_run") == [("r1", "RUNNING")]
    assert [step for _, name, _, step in mlflow.of("log_metric") if name == "x/lr0"] == [1, 2]


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_new_run_in_the_folder_of_another_is_a_new_run_there(name, request, tmp_path):
    service = request.getfixturevalue(name)
    start(name, Run(tmp_path)).epoch(row(5))
    first = read_yaml(tmp_path / "tracking.yaml")[name]["id"]
    service.calls.clear()

    start(name, Run(tmp_path)).epoch(row(0))

    assert read_yaml(tmp_path / "tracking.yaml")[name]["epoch"] == 0
    assert service.of("log_metric") or service.of("log")
    assert name == "mlflow" or read_yaml(tmp_path / "tracking.yaml")[name]["id"] != first


def test_wandb_gets_settings_figures_pictures_and_files(wandb, tmp_path):
    logger = start("wandb", Run(tmp_path, {"epochs": 3}))
    logger.epoch(row(0))
    logger.image("labels", tmp_path / "labels.jpg")
    logger.file(tmp_path / "weights/best.pt")
    logger.finish(False)

    [options] = wandb.options
    assert "mode" not in options  # WANDB_MODE decides
    assert (options["project"], options["name"], options["dir"]) == ("yolo-backbones", tmp_path.name, str(tmp_path))
    assert options["config"] == {"epochs": 3}
    assert options["settings"] == {"console": "off", "save_code": False}
    figures, picture = (values for (values,) in wandb.of("log"))
    assert (figures["epoch"], figures["metrics/mAP_0.5:0.95"]) == (0, 0.5)
    assert picture == {"labels": ("image", str(tmp_path / "labels.jpg"))}
    assert wandb.of("save") == [(str(tmp_path / "weights/best.pt"), str(tmp_path), "now")]
    assert wandb.of("finish") == [(1,)]


def test_wandb_takes_its_project_from_its_own_variable(wandb, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "cats")

    start("wandb", Run(tmp_path))

    assert wandb.options[0]["project"] is None


def test_a_resumed_run_goes_on_in_the_same_run_of_wandb_with_the_epoch_that_was_lost(wandb, tmp_path):
    start("wandb", Run(tmp_path)).epoch(row(0))

    start("wandb", Run(tmp_path, rows=[row(0), row(1)], goes_on=True)).epoch(row(2))

    first, second = wandb.options
    assert first["id"] == second["id"]
    assert first["resume"] == "allow"
    assert [values["epoch"] for (values,) in wandb.of("log")] == [0, 1, 2]


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_figures_that_were_not_measured_are_left_out(name, request, tmp_path):
    service = request.getfixturevalue(name)

    start(name, Run(tmp_path)).epoch(row(0, measured=nan))

    given = [values[1] for values in service.of("log_metric")] + [
        key for (values,) in service.of("log") for key in values
    ]
    assert "train/box_loss" in given
    assert not [key for key in given if key.startswith("metrics/")]


def test_both_keep_their_ids_in_one_file(mlflow, wandb, tmp_path):
    build_loggers(Run(Path(tmp_path)), ("mlflow", "wandb"))

    kept = read_yaml(tmp_path / "tracking.yaml")
    assert kept["mlflow"] == {"id": "r1", "epoch": -1}
    assert len(kept["wandb"]["id"]) == 8
