"""``train.py --print-config``: what a run would have, where each value is from, and nothing left behind."""

import re
import subprocess
import sys

import pytest

import train
from utils.config import parse_config
from utils.configs.train import TrainConfig
from utils.data.scan.spec import load_data_spec
from utils.errors import ConfigError
from utils.runs import ROOT
from utils.training.inputs import resolve
from utils.training.start import plan_model
from utils.yaml_file import parse_yaml, read_yaml, write_yaml

LOW = ROOT / "data/hyps/hyp.scratch-low.yaml"
NAMED = "hyp.shapes.yaml, named by the data set shapes.yaml"


@pytest.fixture
def printed(tmp_path, monkeypatch, caplog):
    """Run train.py in an empty folder; return options and hyper-parameters as {key: (value, source)} of each block."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*flags):
        caplog.clear()
        caplog.set_level("INFO")
        assert train.main(parse_config(TrainConfig, [*map(str, flags), "--print-config"], prog="t")) is None
        return [_values(block) for block in caplog.records[-1].getMessage().split("\n\n")]

    return run


def _values(block):
    head, *lines = block.splitlines()
    assert head.startswith("# ")
    values = parse_yaml(block, "printed")
    sources = {line.partition(":")[0]: re.search(r"\S.*?  # (.*)", line)[1] for line in lines}
    assert list(values) == list(sources)
    return {key: (value, sources[key]) for key, value in values.items()}


def test_every_value_has_the_source_that_decided_it(printed, tmp_path):
    write_yaml(tmp_path / "mine.yaml", {"batch_size": 4, "epochs": 5, "label_smoothing": 0.1})

    options, hyp = printed("--cfg", "yolov5n-emo", "--config", "mine.yaml", "--epochs", 3)

    assert options["epochs"] == (3, "flag")
    assert options["batch_size"] == (4, "--config mine.yaml")
    assert options["optimizer"][0] == "AdamW" and re.fullmatch("recipe of .*yolov5n-emo.yaml", options["optimizer"][1])
    assert options["backbone_lr"] == (1, "default")
    assert options["freeze"] == ([], "default")
    assert hyp["lr0"][0] == 0.002 and hyp["lr0"][1] == options["optimizer"][1]  # as the YAML's recipe has them
    assert hyp["lrf"] == (read_yaml(ROOT / "data/hyps/hyp.shapes.yaml")["lrf"], NAMED)
    assert hyp["label_smoothing"] == (0.1, "--label-smoothing (--config mine.yaml)")
    assert hyp["blur"] == (0, "default")  # the file lacks it


def test_a_file_of_hyper_parameters_goes_before_the_recipe(printed):
    options, hyp = printed("--cfg", "yolov5n-emo", "--hyp", LOW)

    assert options["optimizer"] == ("SGD", "default")
    assert hyp["lr0"] == (0.01, "hyp.scratch-low.yaml, named by --hyp")


def test_without_a_file_it_is_that_of_the_head(printed, tmp_path):
    write_yaml(tmp_path / "d.yaml", {"train": "nowhere", "val": "nowhere", "names": ["a"]})  # and no image is needed

    options, hyp = printed("--cfg", "yolov8n", "--data", "d.yaml")

    assert options["data"] == ("d.yaml", "flag")
    assert hyp["dfl"] == (1.5, "hyp.yolov8.yaml, the head's own")


def test_what_is_printed_gives_the_same_settings_back(printed, tmp_path):
    flags = ("--cfg", "yolov5n-emo", "--imgsz", 480, 640, "--name", "007", "--freeze", 0, 3)
    options, hyp = printed(*flags)
    write_yaml(tmp_path / "opt.yaml", {key: value for key, (value, _) in options.items()})
    write_yaml(tmp_path / "hyp.yaml", {key: value for key, (value, _) in hyp.items()})

    again, hyp_again = printed("--config", "opt.yaml", "--hyp", "hyp.yaml")

    assert {key: value for key, (value, _) in again.items() if key != "hyp"} == {
        key: value for key, (value, _) in options.items() if key != "hyp"
    }
    assert {key: value for key, (value, _) in hyp_again.items()} == {key: value for key, (value, _) in hyp.items()}


@pytest.mark.slow
def test_it_is_what_a_run_takes(printed):
    options, hyp = printed("--cfg", "yolov5s-fasternet", "--optimizer", "SGD")

    cfg = parse_config(TrainConfig, ["--cfg", "yolov5s-fasternet", "--optimizer", "SGD"], prog="t")
    taken, values, _ = resolve(cfg, load_data_spec(cfg.data), plan_model(cfg))
    assert {key: value for key, (value, _) in hyp.items()} == values
    assert options["backbone_lr"][0] == taken.backbone_lr
    assert options["optimizer"] == ("SGD", "flag")


def test_nothing_is_drawn_scanned_or_written(tmp_path):
    command = [sys.executable, ROOT / "train.py", "--cfg", "yolov5n-emo", "--print-config", "--backbone", "repvit_m0_6"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"XDG_CACHE_HOME": str(tmp_path)})

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("# options")
    assert list(tmp_path.iterdir()) == []


def test_options_that_exclude_each_other_are_refused(printed):
    with pytest.raises(ConfigError, match="--rect"):
        printed("--rect", "--image-weights")
