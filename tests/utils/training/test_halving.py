"""Too little memory in the first epoch makes the run the one of half the batch; later, or with one image, it ends."""

import pytest
import torch
from run_states import differing, read_run

from models.detector import DetectionModel
from utils.configs.train import TrainConfig
from utils.training.halving import half_batch
from utils.training.loop import train
from utils.training.session import build_session
from utils.yaml_file import read_yaml

SETTINGS = {"cfg": "tiny.yaml", "data": "pets.yaml", "imgsz": 64, "epochs": 2, "workers": 0, "device": "cpu"}
SETTINGS |= {"amp": False}  # bfloat16 is slow to start
CPU_ERROR = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

pytestmark = pytest.mark.usefixtures("one_thread")


def fail(monkeypatch, error, when):
    """Let the network raise ``error`` in training where ``when(images, calls)``; return the batch sizes that it saw."""
    seen, real = [], DetectionModel.forward

    def forward(self, images):
        if self.training and images.requires_grad is False and len(images):
            seen.append(len(images))
            if when(len(images), len(seen)):
                raise error
        return real(self, images)

    monkeypatch.setattr(DetectionModel, "forward", forward)
    return seen


def test_the_run_is_the_one_of_half_the_batch(folder, monkeypatch, caplog):
    settings = SETTINGS | {"epochs": 1, "plots": False}
    plain = train(TrainConfig(**settings, batch_size=1, name="plain"))
    caplog.clear()
    with monkeypatch.context() as patch:
        # of three images the second batch of two fails, when the first has changed norms and gradients
        seen = fail(patch, CPU_ERROR, lambda images, calls: calls == 2)
        halved = train(TrainConfig(**settings, batch_size=2, name="halved", save_steps=1))

    assert seen[:3] == [2, 1, 1]
    assert read_yaml(halved / "opt.yaml")["batch_size"] == 1
    assert caplog.text.count("has too little memory for --batch-size 2: epoch 0 starts again with 1; ") == 1
    assert "an optimizer step keeps its 64 images (nominal_batch)" in caplog.text
    found = differing(read_run(plain), read_run(halved))
    assert [place for place in found if not place.endswith(".save_steps")] == []
    assert (plain / "results.csv").read_text() == (halved / "results.csv").read_text()
    assert sorted(path.name for path in folder.glob("runs/train/*")) == ["halved", "plain"]


def test_too_little_memory_of_a_gpu_is_understood_too(folder):
    cfg = TrainConfig(**SETTINGS, batch_size=2)
    session = build_session(cfg)

    assert half_batch(session, cfg, torch.OutOfMemoryError("CUDA out of memory")) == 1


def test_a_batch_larger_than_the_data_is_halved_until_one_image_is_left(folder, monkeypatch):
    seen = fail(monkeypatch, CPU_ERROR, lambda *_: True)

    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        train(TrainConfig(**SETTINGS, batch_size=16, plots=False))

    assert seen == [3, 1]
    assert read_yaml("runs/train/exp/opt.yaml")["batch_size"] == 1


@pytest.mark.parametrize(("error", "call"), [(CPU_ERROR, 4), (RuntimeError("another"), 1)])
def test_neither_a_later_epoch_nor_another_error_starts_again(folder, monkeypatch, error, call):
    seen = fail(monkeypatch, error, lambda images, calls: calls == call)

    with pytest.raises(RuntimeError) as raised:
        train(TrainConfig(**SETTINGS, batch_size=2, plots=False))

    assert raised.value is error and len(seen) == call


def test_a_run_that_goes_on_does_not_start_again(folder, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        fail(patch, KeyboardInterrupt, lambda images, calls: calls == 2)
        train(TrainConfig(**SETTINGS, batch_size=1, plots=False, save_steps=1))
    fail(monkeypatch, CPU_ERROR, lambda *_: True)

    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        train(TrainConfig(resume="runs/train/exp", device="cpu", given=frozenset({"device"})))


def test_pictures_of_four_images_stay_whole(folder, monkeypatch):
    seen = fail(monkeypatch, CPU_ERROR, lambda *_: True)

    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        train(TrainConfig(**SETTINGS, batch_size=8, plots=False, quad=True))

    assert seen == [1]  # three images make one picture, and there is no smaller batch
