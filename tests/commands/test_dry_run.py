"""``train.py --dry-run``: a few batches of the run, times that add up, and nothing left behind."""

import re
from types import SimpleNamespace

import pytest
import torch
from drawn_pictures import write_narrow_model, write_pictures

import train
from utils.config import parse_config
from utils.configs.train import TrainConfig
from utils.errors import ConfigError, DivergedError
from utils.runs import ROOT
from utils.training import dry_run
from utils.yaml_file import read_yaml, write_yaml

DATA = ("--cfg", "narrow.yaml", "--data", "pictures.yaml")
FEW = (*DATA, "--imgsz", 64, "--batch", 4, "--workers", 0, "--device", "cpu", "--dry-run")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a data set of 13 and 5 drawn pictures, where the commands are started."""
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path, train=13, val=5)
    write_narrow_model(tmp_path)
    return tmp_path


def run(*flags):
    return train.main(parse_config(TrainConfig, list(map(str, (*FEW, *flags))), prog="t"))


def test_it_tells_times_and_memory_and_leaves_nothing(folder, caplog):
    caplog.set_level("INFO")
    (folder / "labels/train/0.txt").write_text("0 0.5 0.5 0.2 0.2\nnonsense\n")
    before = sorted(folder.rglob("*"))

    assert run("--epochs", 3) is None

    assert sorted(folder.rglob("*")) == before
    said = "\n".join(record.getMessage() for record in caplog.records)
    parts = dict(re.findall(r"^ +(\w+) +([\d.]+) ms", said, re.MULTILINE))
    assert list(parts) == ["load", "forward", "loss", "backward", "step", "validate"]
    assert all(float(value) > 0 for value in parts.values())
    assert "a training batch of 4 images, on cpu" in said
    assert "a validation batch of 5 images" in said
    assert re.search(r"the run: about .+ for 3 epochs", said)
    assert "1 problem of the data set" in said and "0.txt:2" in said
    assert float(re.search(r"peak memory: ([\d.]+) GB", said)[1]) > 0.1  # PyTorch alone takes as much


def test_its_batches_are_trained_as_those_of_a_run(folder, monkeypatch):
    seen, real = [], dry_run._train_batch
    monkeypatch.setattr(dry_run, "_validate", lambda session: {"load": 1.0, "validate": 1.0})

    def watched(session, number, **options):
        weights = session.model.model[1].bn.bias  # whose rate is not 0 at the start
        before, frozen = weights.detach().clone(), session.model.model[0].bn.running_mean.clone()
        times = real(session, number, **options)
        is_still = torch.equal(frozen, session.model.model[0].bn.running_mean)
        seen.append((number, not torch.equal(before, weights), session.model.training, is_still))
        return times

    monkeypatch.setattr(dry_run, "_train_batch", watched)
    run("--freeze", 1)

    assert seen == [(number, True, True, True) for number in (0, 0, 1, 2)]


def test_the_first_batch_is_as_large_as_multi_scale_may_draw(folder, monkeypatch):
    sizes, real = [], dry_run._at_size
    monkeypatch.setattr(dry_run, "_at_size", lambda *args: sizes.append(real(*args)) or sizes[-1])

    run("--multi-scale")

    assert sizes[0].shape == (4, 3, 96, 96)  # 1.5 × 64
    assert all(images.shape[-1] in (32, 64, 96) for images in sizes[1:])


def test_a_diverging_run_is_told_and_leaves_no_folder(folder):
    write_yaml("hyp.yaml", read_yaml(ROOT / "data/hyps/hyp.scratch-low.yaml") | {"box": 1e38, "obj": 1e38})

    with pytest.raises(DivergedError, match="not finite"):
        run("--hyp", "hyp.yaml")

    assert not (folder / "runs").exists()


def test_a_run_cannot_be_resumed_and_tried(folder):
    with pytest.raises(ConfigError, match="--resume"):
        run("--resume", "runs/train/exp")


@pytest.mark.parametrize(
    ("device", "workers", "load", "seconds"),
    [
        ("cpu", 0, 0.1, 0.1 + 0.3 + 0.4 / 4),  # one after the other; a step every four batches
        ("cpu", 2, 0.1, 0.1 / 5 + 0.3 + 0.4 / 4),  # workers take their share of five cores
        ("cuda", 2, 0.1, 0.3 + 0.4 / 4),  # ready before they are wanted
        ("cuda", 2, 3.0, 1.5),  # waited for
    ],
)
def test_the_time_of_a_batch_in_a_run(monkeypatch, device, workers, load, seconds):
    monkeypatch.setattr(dry_run, "usable_cpus", lambda: 5)
    session = SimpleNamespace(device=torch.device(device), schedule=SimpleNamespace(batches_per_update=4))

    times = {"load": load, "forward": 0.1, "loss": 0.1, "backward": 0.1, "step": 0.4}

    assert dry_run._paced(session, times, workers) == pytest.approx(seconds)


def test_hours_are_told_as_epochs_and_several_devices_are_refused(folder, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(dry_run, "_train", lambda session: {"load": 0.5, "forward": 1.0, "step": 0.0})
    monkeypatch.setattr(dry_run, "_validate", lambda session: {"load": 1.0, "validate": 2.0})

    run("--time", 1)  # 4 batches of 1.5 s and one validation of 3 s make 9 s

    assert "about 400 epochs in 1 h (--time)" in caplog.text
    with pytest.raises(ConfigError, match="one device"):
        run("--device", "0,1")
