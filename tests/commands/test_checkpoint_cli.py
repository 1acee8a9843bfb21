"""python -m utils.checkpoint, and the flags of val.py and detect.py that say how a weights file runs."""

import subprocess
import sys

import pytest
from tiny_detector import tiny_model, write_tiny_project

import detect
import val
from utils.checkpoint.__main__ import main
from utils.checkpoint.native import save_checkpoint
from utils.config import make_config, parse_config
from utils.configs.checkpoint import CheckpointConfig
from utils.configs.detect import DetectConfig
from utils.configs.val import ValConfig
from utils.errors import ConfigError
from utils.runs import ROOT


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tiny_project()
    for name in ("a.pt", "b.pt"):
        save_checkpoint(name, tiny_model(), epoch=0, fitness=0.5, training={"opt": {"data": "pets.yaml"}}, imgsz=64)
    return tmp_path


def run(*words):
    main(parse_config(CheckpointConfig, list(words), prog="x"))


def test_info_says_what_files_hold(folder, caplog):
    caplog.set_level("INFO")

    run("info", "a.pt", "b.pt")

    text = caplog.text
    assert "a.pt: a checkpoint of this repository" in text
    assert "b.pt: a checkpoint of this repository" in text
    for line in ("3 classes: class 0, class 1, class 2", "best fitness: 0.5", "data: pets.yaml", "image size: 64"):
        assert line in text


def test_convert_says_what_it_has_written(folder, caplog):
    caplog.set_level("INFO")

    run("convert", "a.pt", "--to", "official", "--half")

    assert "written: a_yolov5.pt" in caplog.text
    assert (folder / "a_yolov5.pt").stat().st_size < (folder / "a.pt").stat().st_size * 2


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("", "'' does not say what to do"),
        ("info", "'info' does not say"),
        ("show a.pt", "'show a.pt' does not say"),
        ("info a.pt --half", "--half belongs to convert"),
        ("convert a.pt", "does not say into what"),
        ("convert a.pt b.pt --to pt", "takes one file, not 2"),
        ("convert a.pt --to pt", "a.pt: exists"),
        ("convert a.onnx --to pt", "an exported file has no layers"),
        ("convert a_openvino_model --to pt", "an exported file has no layers"),
        ("convert a.pt --to official --out x.onnx", "ends in .onnx"),
    ],
)
def test_what_is_wrong_is_told(folder, words, what):
    with pytest.raises(ConfigError) as error:
        run(*words.split())

    assert what in error.value.what
    assert error.value.fix


def test_help_answers_before_pytorch_is_imported():
    check = (
        "import sys, runpy; sys.argv = ['x', '--help']\ntry: runpy.run_module('utils.checkpoint', run_name='__main__')"
    )
    check += "\nexcept SystemExit as end: print(end.code, 'torch' in sys.modules)"

    result = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)

    assert result.stdout.split()[-2:] == ["0", "False"]


def test_val_measures_an_ensemble_and_names_its_file_after_the_first(folder):
    options = {"weights": ("a.pt", "b.pt"), "data": "pets.yaml", "save_json": True, "plots": False, "workers": 0}

    val.main(make_config(ValConfig, options | {"augment": True}))

    assert (folder / "runs/val/exp/a_predictions.json").is_file()


def test_detect_shows_the_names_of_a_data_set(folder, caplog):
    caplog.set_level("INFO")

    detect.run(weights=["a.pt", "b.pt"], source="images", conf_thres=0.0, data="pets.yaml", save=False)

    assert any(name in caplog.text for name in ("cat", "dog", "eel"))
    assert "class " not in caplog.text


def test_detect_refuses_float16_on_the_cpu_and_leaves_nothing(folder):
    with pytest.raises(ConfigError, match="float16 is for a GPU"):
        detect.main(parse_config(DetectConfig, ["--weights", "a.pt", "--half", "--device", "cpu"], prog="x"))
    assert not (folder / "runs").exists()
