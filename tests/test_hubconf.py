"""torch.hub and programs in other folders get models by name; sys.path and logging stay as they were."""

import subprocess
import sys

import pytest
import torch
from tiny_detector import TINY, tiny_model

import detect
import export
import hubconf
import train
import val
from models.detector import DetectionModel
from utils.checkpoint.native import save_checkpoint
from utils.config import make_config
from utils.configs.detect import DetectConfig
from utils.configs.train import TrainConfig
from utils.errors import CheckpointError, ConfigError
from utils.runs import ROOT

PROGRAM = f"""
import logging, sys
import numpy as np
import torch
before = list(sys.path), list(logging.getLogger().handlers), logging.getLogger().level
model = torch.hub.load({str(ROOT)!r}, "custom", path="tiny.pt", source="local", device="cpu")
bare = torch.hub.load({str(ROOT)!r}, "yolov5n", pretrained=False, classes=3, source="local", device="cpu")
assert (list(sys.path), logging.getLogger().handlers, logging.getLogger().level) == before
results = model([np.zeros((64, 96, 3), np.uint8)], size=64)
results.pandas(), results.render()
print(type(bare).__name__, bare.nc, results.n)
"""


def save(path):
    save_checkpoint(path, tiny_model(), epoch=0, fitness=0.0, training={}, imgsz=64)
    return path


def test_a_program_in_another_folder_loads_models_through_torch_hub(tmp_path):
    save(tmp_path / "tiny.pt")

    result = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True)

    assert result.stdout.split() == ["DetectionModel", "3", "1"], result.stderr
    assert result.stderr == ""


def test_the_bare_model_of_a_checkpoint_can_be_trained(tmp_path):
    weights, images = save(tmp_path / "tiny.pt"), torch.rand(2, 3, 64, 64)

    model = hubconf.custom(str(weights), autoshape=False, device="cpu")

    assert not model.training and any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    detector = hubconf.custom(str(weights), device=torch.device("cpu"))
    torch.testing.assert_close(model(images)[0], detector(images), rtol=1e-4, atol=1e-3)
    model.train()(images)[0].sum().backward()
    assert all(weight.grad is not None for weight in model.model[0].parameters())


def test_packages_of_the_program_with_our_names_are_told_apart(tmp_path):
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils/__init__.py").write_text("")
    program = f"import utils, torch; torch.hub.load({str(ROOT)!r}, 'yolov5n', pretrained=False, source='local')"

    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)

    assert "this program has a package 'utils' of its own" in result.stderr.splitlines()[-1]


def test_official_weights_that_are_not_there_are_named_with_their_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(CheckpointError, match=r"yolov5s\.pt: no such file") as error:
        hubconf.yolov5s()

    assert "releases/download/v7.0/yolov5s.pt" in error.value.fix
    with pytest.raises(AttributeError, match="yolov9z"):
        hubconf.yolov9z  # noqa: B018 - looked up, not called


@pytest.mark.parametrize("name", ["yolov5s-emo", "yolov3"])
def test_weights_that_yolov5_never_published_get_no_address(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(CheckpointError) as error:
        getattr(hubconf, name)()

    assert error.value.fix == "give pretrained=False"


def test_every_model_yaml_has_a_name_and_other_channels_can_be_had():
    assert {"yolov5s", "yolov5m6", "yolov3-spp", "yolov5n-fasternet"} <= set(dir(hubconf))

    model = hubconf.yolov5n(pretrained=False, channels=4, classes=2, device="cpu")

    assert isinstance(model, DetectionModel) and (model.nc, model.yaml["ch"]) == (2, 4)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"img": 320, "batch": 4, "noplots": True}, {"imgsz": 320, "batch_size": 4, "plots": False}),
        ({"freeze": 10, "nosave": False}, {"freeze": ("10",), "save": True}),
        ({"freeze": ["backbone"], "backbone_lr": 1}, {"freeze": ("backbone",), "backbone_lr": 1.0}),
        ({"data": ROOT / "x.yaml", "cache": None}, {"data": str(ROOT / "x.yaml"), "cache": None}),
    ],
)
def test_options_go_by_the_names_of_the_flags(options, expected):
    cfg = make_config(TrainConfig, options)

    assert {name: getattr(cfg, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (TrainConfig, {"epoch": 3}, "unknown option 'epoch'"),
        (TrainConfig, {"resume_evolve": "x"}, "--resume_evolve of YOLOv5's train.py"),
        (DetectConfig, {"update": True}, "--update of YOLOv5's detect.py"),
        (DetectConfig, {"sauce": None}, "unknown option 'sauce'"),
        (TrainConfig, {"epochs": 0}, "--epochs 0 is out of range"),
        (TrainConfig, {"epochs": "3"}, "epochs is '3'"),
        (TrainConfig, {"epochs": 2.5}, "epochs is 2.5"),
        (TrainConfig, {"plots": 1}, "plots is 1"),
        (TrainConfig, {"optimizer": "Lion"}, "--optimizer Lion is out of range"),
        (DetectConfig, {"imgsz": ["cat"]}, "imgsz is 'cat'"),
    ],
)
def test_a_wrong_option_is_named(config, options, message):
    with pytest.raises(ConfigError, match=message) as error:
        make_config(config, options)

    assert error.value.fix


def test_what_a_program_leaves_out_by_its_value_is_left_out():
    options = {"weights": "a.pt", "half": False, "update": False}  # as scripts for YOLOv5 list them

    assert make_config(DetectConfig, options) == make_config(DetectConfig, {"weights": "a.pt"})
    assert make_config(TrainConfig, {"bucket": "", "entity": None, "upload_dataset": False}) == TrainConfig()


def test_the_commands_can_be_run_from_a_program(tmp_path, monkeypatch):
    from utils.yaml_file import write_yaml

    monkeypatch.chdir(tmp_path)
    write_yaml("tiny.yaml", TINY)
    common = {"imgsz": 64, "workers": 0, "device": "cpu"}

    options = train.run(cfg="tiny.yaml", data=make_data(tmp_path), epochs=1, batch=2, noplots=True, **common)
    weights = f"{options.save_dir}/weights/best.pt"
    figures, maps, times = val.run(weights=weights, batch_size=2, plots=False, **common)
    folder = detect.run(weights=weights, source=tmp_path / "images", imgsz=64, device="cpu")
    files = export.run(weights=weights, imgsz=64)

    resumed = train.run(resume=True)

    of_the_run = ("cfg", "data", "epochs", "imgsz", "batch_size", "plots", "save_dir")
    assert [getattr(resumed, name) for name in of_the_run] == [getattr(options, name) for name in of_the_run]
    assert (options.epochs, len(figures), len(maps), len(times)) == (1, 7, 3, 3)
    assert len(list(folder.glob("*.png"))) == 3
    assert [file.name for file in files] == ["best.onnx"] and files[0].is_file()


def make_data(folder):
    import cv2
    import numpy as np

    from utils.yaml_file import write_yaml

    for name in ("images", "labels"):
        (folder / name).mkdir()
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"images/{index}.png"), pixels)
        (folder / f"labels/{index}.txt").write_text(f"{index} 0.5 0.5 0.4 0.4\n")
    write_yaml(folder / "pets.yaml", {"train": "images", "val": "images", "names": ["cat", "dog", "eel"]})
    return folder / "pets.yaml"


@pytest.mark.parametrize(("name", "parameters"), [("yolov8n", 3_157_200), ("yolov8n-p2", 3_354_144)])
def test_a_size_of_a_yaml_with_several_is_a_model_of_the_hub(name, parameters):
    model = getattr(hubconf, name)(pretrained=False)

    assert name in dir(hubconf)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_a_yaml_that_describes_no_model_is_no_model_of_the_hub():
    assert "anchors" not in dir(hubconf)
    with pytest.raises(AttributeError, match="no attribute 'anchors'"):
        hubconf.anchors  # noqa: B018
