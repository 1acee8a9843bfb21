"""``--batch-size auto``: what is chosen from which peaks, what is tried, and that nothing is left of the trial."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from run_states import differing, read_run

from utils.config import make_config, parse_config
from utils.configs.shared import AUTO
from utils.configs.train import TrainConfig
from utils.errors import ConfigError
from utils.runs import ROOT
from utils.training import autobatch
from utils.training.autobatch import Trial, largest_on_cpu, largest_on_gpu, largest_shape, most_boxes
from utils.training.inputs import read_inputs
from utils.training.loop import train
from utils.training.print_config import print_config
from utils.yaml_file import read_yaml, write_yaml

SETTINGS = {
    "cfg": "tiny.yaml",
    "data": "pets.yaml",
    "imgsz": 64,
    "epochs": 1,
    "workers": 0,
    "device": "cpu",
    "amp": False,
}
QUIET = {"plots": False, "val": False}

pytestmark = pytest.mark.usefixtures("one_thread")


class Memory:
    """A device whose peak is ``fixed`` and ``each`` bytes a picture, and which has ``size`` bytes."""

    device = torch.device("cpu")

    def __init__(self, fixed, each, size):
        self.line, self.size, self.tried = (fixed, each), size, []

    def reset(self):
        self.tried.append(None)

    def step(self, pictures):
        self.tried[-1] = pictures
        if self.peak() > self.size:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def peak(self):
        fixed, each = self.line
        return fixed + each * self.tried[-1]


@pytest.mark.parametrize(
    ("fixed", "each", "most", "limit", "pictures", "tried"),
    [
        (100, 10, 1000, 1024, 90, [2, 4, 8, 16, 32, 64, 90]),  # 100 + 10 × 90 = 1000
        (100, 10, 1000, 12, 90, [2, 4, 8, 12]),  # more would fit than there are images
        (100, 10, 145, 1024, 4, [2, 4]),
        (900, 100, 1000, 1024, 0, [2]),  # nothing larger fits
    ],
)
def test_on_a_gpu_the_line_is_followed_and_its_end_is_tried(fixed, each, most, limit, pictures, tried):
    memory = Memory(fixed, each, size=1050)

    found = largest_on_gpu(memory.step, memory, most, limit)

    assert min(found.pictures, limit) == min(pictures, limit)
    assert memory.tried == tried


def test_on_a_gpu_that_has_less_than_the_line_says_fewer_are_taken():
    memory = Memory(100, 10, size=800)  # 70 pictures

    found = largest_on_gpu(memory.step, memory, 1000, 1024)

    assert memory.tried == [2, 4, 8, 16, 32, 64, 90, 67]  # 90 × 3/4
    assert found.pictures == 67


def test_on_a_cpu_two_small_steps_make_the_line_and_loader_processes_count():
    memory = Memory(100, 10, size=10**9)

    assert largest_on_cpu(memory.step, memory, 1000, loaded=0) == (90, 10, 100)
    assert largest_on_cpu(memory.step, memory, 1000, loaded=20) == (30, 30, 100)
    assert memory.tried == [2, 4, 2, 4]


def test_the_run_is_the_one_of_the_chosen_number(folder, caplog):
    caplog.set_level("INFO")
    write_yaml("hyp.yaml", read_yaml(ROOT / "data/hyps/hyp.scratch-low.yaml") | {"nominal_batch": 2})
    settings = SETTINGS | QUIET | {"hyp": "hyp.yaml"}

    chosen = train(make_config(TrainConfig, settings | {"batch_size": "auto", "name": "auto"}))
    plain = train(make_config(TrainConfig, settings | {"batch_size": 2, "name": "plain"}))

    assert differing(read_run(chosen), read_run(plain)) == []
    assert read_yaml(chosen / "opt.yaml")["batch_size"] == 2
    assert caplog.text.count("--batch-size auto: 2, a") == 1  # "at …" or, of so small a model, "as …"


def test_little_memory_gives_few_images_and_unknown_memory_the_default(folder, monkeypatch, caplog):
    caplog.set_level("INFO")
    inputs = read_inputs(TrainConfig(**SETTINGS, batch_size=AUTO), None)
    monkeypatch.setattr(autobatch.PeakMemory, "free", lambda self: 1000)
    assert autobatch.with_batch_size(inputs).cfg.batch_size == 1

    monkeypatch.setattr(autobatch.PeakMemory, "free", lambda self: None)
    assert autobatch.with_batch_size(inputs).cfg.batch_size == 3  # of 16 as many as there are images
    assert "does not tell how much memory is free" in caplog.text


def test_the_trial_changes_neither_the_model_nor_a_generator(folder):
    inputs = read_inputs(TrainConfig(**SETTINGS, batch_size=AUTO, freeze=("0",), unfreeze_epoch=1), None)
    before = {key: value.clone() for key, value in inputs.model.state_dict().items()}
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()

    autobatch.with_batch_size(inputs)

    assert all(torch.equal(value, before[key]) for key, value in inputs.model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in inputs.model.parameters())
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1]) and torch.equal(torch.get_rng_state(), states[2])


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (64, 64)),
        ({"multi_scale": True}, (96, 96)),  # 1.5 × 64
        ({"quad": True}, (128, 128)),
        ({"quad": True, "multi_scale": True}, (192, 192)),
    ],
)
def test_the_trial_has_pictures_of_the_largest_size_and_all_that_a_step_needs(folder, monkeypatch, options, shape):
    inputs = read_inputs(TrainConfig(**SETTINGS, batch_size=AUTO, optimizer="AdamW", **options), None)
    trial, seen = Trial(inputs), []
    loss = trial.parts.loss
    trial.model.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    trial.parts = trial.parts._replace(loss=lambda maps, targets: seen.append(len(targets)) or loss(maps, targets))

    trial.step(2)

    assert seen == [(2, 3, *shape), 2 * trial.boxes]
    assert all(p.grad is not None for p in trial.model.parameters() if p.requires_grad)
    assert all("exp_avg" in trial.parts.optimizer.state[p] for p in trial.model.parameters() if p.requires_grad)
    assert trial.model.training


@pytest.mark.parametrize(
    ("shapes", "shape"),
    [([[48, 64], [32, 64]], (480, 640)), ([[64, 48], [64, 32]], (640, 480)), ([[48, 64], [64, 48]], (640, 640))],
)
def test_rectangular_batches_are_as_large_as_the_images_need(shapes, shape):
    scan = SimpleNamespace(shapes=np.array(shapes))
    model, cfg = SimpleNamespace(size_multiple=32), TrainConfig(rect=True)

    assert largest_shape(SimpleNamespace(cfg=cfg, scans=(scan,), shape=(640, 640), model=model)) == shape


@pytest.mark.parametrize(
    ("hyp", "options", "boxes"),
    [
        ({"mosaic": 1.0}, {}, 9 + 5 + 4 + 2),
        ({"mosaic": 0.5, "mixup": 0.1}, {}, 9 + 5 + 4 + 2 + 1),  # five images are all there are
        ({"mosaic": 1.0, "copy_paste": 0.1}, {}, 2 * 20),
        ({"mosaic": 1.0}, {"rect": True}, 9),
        ({"mosaic": 0.0}, {"quad": True}, 20),
    ],
)
def test_as_many_boxes_are_tried_as_a_picture_may_have(hyp, options, boxes):
    defaults = read_yaml(ROOT / "data/hyps/hyp.scratch-low.yaml")
    scan = SimpleNamespace(labels=[np.zeros((count, 5)) for count in (1, 9, 4, 2, 5)])

    assert most_boxes(SimpleNamespace(cfg=TrainConfig(**options), hyp=defaults | hyp, scans=(scan,))) == boxes


@pytest.mark.parametrize(("size", "pictures"), [(100 + 10 * 3, 2), (50, 0)])
def test_on_a_cpu_without_memory_for_the_second_step_the_first_counts(size, pictures):
    memory = Memory(100, 10, size)

    assert largest_on_cpu(memory.step, memory, 1000, loaded=0).pictures == pictures


@pytest.mark.parametrize("value", [-1, "auto", "Auto"])
def test_it_may_be_written_as_a_word_or_as_a_number(value):
    assert make_config(TrainConfig, {"batch": value}).batch_size == AUTO
    assert parse_config(TrainConfig, ["--batch", str(value)]).batch_size == AUTO


def test_several_processes_are_refused(folder, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")

    with pytest.raises(ConfigError, match="measures the memory of one process, and there are 2"):
        read_inputs(TrainConfig(**SETTINGS, batch_size=AUTO), None)


def test_several_devices_are_refused_before_any_process_starts(folder):
    with pytest.raises(ConfigError, match="measures the memory of one process, and there are 2"):
        train(TrainConfig(**SETTINGS | {"device": "0,1"}, batch_size=AUTO))


def test_a_run_that_goes_on_keeps_the_number_that_it_has_chosen(folder):
    settings = SETTINGS | QUIET
    train(TrainConfig(**settings, batch_size=AUTO))

    again = ["--resume", "runs/train/exp", "--batch-size", "auto", "--epochs", "2", "--device", "cpu"]
    assert read_yaml(train(parse_config(TrainConfig, again)) / "opt.yaml")["batch_size"] == 3


def test_the_config_is_printed_with_what_will_be_chosen(folder, caplog):
    caplog.set_level("INFO")

    print_config(parse_config(TrainConfig, ["--data", "pets.yaml", "--cfg", "tiny.yaml", "--batch", "-1", "--quad"]))

    [line] = [line for line in caplog.text.splitlines() if line.startswith("batch_size")]
    assert line.split("#") == ["batch_size: -1".ljust(42), " flag; chosen when the run starts"]
