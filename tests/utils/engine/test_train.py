"""The training loop on three pictures: in which order things happen, and what does not end a run."""

from math import nan
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_detector import TINY

from models.yolo import DetectionModel
from utils.engine import build
from utils.engine.configs import TrainConfig
from utils.engine.configs_benchmark import BenchmarkConfig
from utils.engine.measure import measure_backbone
from utils.engine.train import train
from utils.errors import DivergedError, StorageError
from utils.losses.detection import DetectionLoss
from utils.yaml_file import write_yaml

SETTINGS = {"cfg": "tiny.yaml", "data": "pets.yaml", "imgsz": 64, "epochs": 1, "batch_size": 2, "workers": 0}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a tiny model and three pictures."""
    monkeypatch.chdir(tmp_path)
    for name in ("images", "labels"):
        Path(name).mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        cv2.imwrite(f"images/{index}.png", rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
        Path(f"labels/{index}.txt").write_text(f"{index} 0.5 0.5 0.4 0.4\n")
    write_yaml("pets.yaml", {"train": "images", "val": "images", "names": ["cat", "dog", "eel"]})
    write_yaml("tiny.yaml", TINY)
    return tmp_path


@pytest.fixture
def moves(monkeypatch):
    """What is done to models: ``fuse`` and ``to``."""
    done = []
    fuse, to = DetectionModel.fuse, DetectionModel.to
    monkeypatch.setattr(DetectionModel, "fuse", lambda self: done.append("fuse") or fuse(self))
    monkeypatch.setattr(DetectionModel, "to", lambda self, *a, **k: done.append("to") or to(self, *a, **k))
    return done


def test_the_best_model_is_fused_before_it_goes_to_the_device(folder, moves):
    train(TrainConfig(**SETTINGS, device="cpu", plots=False))

    assert moves[-2:] == ["fuse", "to"]


def test_the_benchmark_fuses_before_the_model_goes_to_the_device(folder, moves):
    next(measure_backbone(BenchmarkConfig(**SETTINGS, device="cpu"), "own", folder, lambda *_: None))

    assert moves[-2:] == ["fuse", "to"]


@pytest.mark.parametrize(("dtype", "hint"), [(torch.float16, True), (torch.bfloat16, False), (None, False)])
def test_divergence_in_float16_suggests_full_precision(folder, monkeypatch, dtype, hint):
    monkeypatch.setattr(build, "autocast_dtype", lambda device, amp: dtype)
    monkeypatch.setattr(DetectionLoss, "forward", lambda self, maps, _: (maps[0].sum() * nan, torch.full((3,), nan)))

    with pytest.raises(DivergedError) as error:
        train(TrainConfig(**SETTINGS, device="cpu", plots=False))

    assert ("--no-amp" in error.value.fix) == hint


def test_the_weights_of_an_epoch_are_there_before_it_is_logged(folder, monkeypatch):
    class Failing:
        def epoch(self, row):
            raise ZeroDivisionError

    monkeypatch.setattr(build, "build_loggers", lambda run_dir: [Failing()])

    with pytest.raises(ZeroDivisionError):
        train(TrainConfig(**SETTINGS, device="cpu", plots=False))

    assert sorted(path.name for path in folder.glob("runs/train/exp/weights/*")) == ["best.pt", "last.pt"]


def test_a_table_that_can_never_be_written_does_not_end_the_training(folder, monkeypatch):
    def no_writing(path, text):
        raise StorageError(f"{path}: cannot be written")

    monkeypatch.setattr("utils.loggers.csv.write_text", no_writing)

    run_dir = train(TrainConfig(**SETTINGS, device="cpu"))

    assert (run_dir / "weights/best.pt").is_file()
    assert (run_dir / "confusion_matrix.png").is_file()
    assert not (run_dir / "results.png").exists()
