"""What a run leaves for others: its record, its report, what loggers get, and that none of it can cost the weights."""

import pytest

from utils.configs.train import TrainConfig
from utils.errors import ConfigError
from utils.report.record import read_record
from utils.training import loop, record
from utils.training import session as session_module
from utils.training.loop import train

SETTINGS = {"cfg": "tiny.yaml", "data": "pets.yaml", "imgsz": 64, "epochs": 1, "batch_size": 2, "workers": 0}


class Recorder:
    def __init__(self):
        self.calls = []

    def __getattr__(self, method):
        return lambda *values: self.calls.append((method, *values))


@pytest.fixture
def logger(monkeypatch):
    """A logger that notes what it is told."""
    logger = Recorder()

    def build(run, names):
        logger.start(run)
        return [logger]

    monkeypatch.setattr(session_module, "build_loggers", build)
    return logger


def test_a_run_leaves_a_record_and_a_report_and_gives_both_to_its_loggers(folder, logger):
    run = train(TrainConfig(**SETTINGS, device="cpu"))

    found = read_record(run)
    [session] = found["sessions"]
    assert session["state"] == "finished"
    assert session["environment"]["device"].startswith("cpu")
    assert set(session["parts"]) >= {"validation", "saving"}
    assert 0 < sum(session["parts"].values()) < session["seconds"]
    assert found["data"]["splits"]["train"]["images"] == 3
    assert [entry["name"] for entry in found["classes"]] == found["names"] == ["cat", "dog", "eel"]
    assert [sum(row[index] for row in found["confusion"]) for index in range(3)] == [1, 1, 1]  # one label of each
    assert "what was found" in (run / "report.html").read_text(encoding="utf-8")
    assert [call[0] for call in logger.calls if call[0] != "image"] == ["start", "epoch", *["file"] * 4, "finish"]
    files = [call[1].name for call in logger.calls if call[0] == "file"]
    assert files == ["opt.yaml", "hyp.yaml", "run.json", "report.html"]  # results.csv is the fake's
    assert ("image", "labels", run / "labels.jpg") in logger.calls
    [start] = [call[1] for call in logger.calls if call[0] == "start"]
    assert (start.settings["epochs"], start.settings["hyp/momentum"], start.goes_on) == (1, 0.937, False)


def test_weights_are_given_to_loggers_only_where_that_is_wished(folder, logger, monkeypatch):
    monkeypatch.setattr("utils.training.inputs.check_loggers", lambda names: None)

    run = train(TrainConfig(**SETTINGS, device="cpu", logger=("wandb",), log_weights=True, report=False, plots=False))

    assert ("file", run / "weights/best.pt") in logger.calls
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("names", [(), ("tensorboard",)])
def test_weights_for_no_logger_that_takes_them_are_refused(folder, names):
    with pytest.raises(ConfigError, match="--log-weights needs a logger"):
        train(TrainConfig(**SETTINGS, device="cpu", logger=names, log_weights=True))

    assert not (folder / "runs").exists()


def test_a_missing_package_is_refused_before_the_run_folder_is_made(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(ConfigError, match="--logger wandb: the package wandb is not installed"):
        train(TrainConfig(**SETTINGS, device="cpu", logger=("wandb",)))

    assert not (folder / "runs").exists()


def test_a_report_that_fails_costs_a_warning(folder, monkeypatch, caplog):
    monkeypatch.setattr(record, "run_page", lambda run: 1 / 0)

    run = train(TrainConfig(**SETTINGS, device="cpu", plots=False))

    assert (run / "weights/best.pt").is_file()
    assert "no report was written (python -m utils.report tries again): division by zero" in caplog.text


def test_an_interrupted_run_has_a_report_and_closes_its_loggers_and_a_resumed_one_goes_on(folder, logger, monkeypatch):
    work = loop.train_epoch

    def train_epoch(session, caught):
        if session.state.epoch == 1 and not session.cfg.resume and len(read_record(session.run_dir)["sessions"]) == 1:
            raise KeyboardInterrupt
        return work(session, caught)

    monkeypatch.setattr(loop, "train_epoch", train_epoch)
    with pytest.raises(KeyboardInterrupt):
        train(TrainConfig(**SETTINGS | {"epochs": 2}, device="cpu", plots=False))

    run = folder / "runs/train/exp"
    assert "interrupted" in (run / "report.html").read_text(encoding="utf-8")
    assert logger.calls[-1] == ("finish", False)
    assert "file" not in {call[0] for call in logger.calls}

    train(TrainConfig(resume=str(run), given=frozenset({"resume"})))

    assert [session["state"] for session in read_record(run)["sessions"]] == ["interrupted", "finished"]
    starts = [call[1] for call in logger.calls if call[0] == "start"]
    assert [(start.goes_on, len(start.rows)) for start in starts] == [(False, 0), (True, 1)]
    assert logger.calls[-1] == ("finish", True)
