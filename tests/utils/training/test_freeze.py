"""Rows that are frozen until an epoch: weights and statistics stand still before it, and move from it on."""

from pathlib import Path

import pytest
import torch
from tiny_detector import write_tiny_project
from torch import nn

import train
from utils.errors import ConfigError
from utils.runs import ROOT
from utils.training import loop
from utils.training.ema import ModelEMA
from utils.training.freeze import Freezing
from utils.training.optim import Stepper, build_optimizer, parameter_groups
from utils.yaml_file import read_yaml, write_yaml

SETTINGS = {"cfg": "tiny.yaml", "data": "pets.yaml", "imgsz": 64, "epochs": 4, "batch_size": 1, "workers": 0}
SETTINGS |= {"device": "cpu", "plots": False, "hyp": "hyp.yaml", "val": False}


@pytest.fixture(autouse=True)
def _project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tiny_project()
    low = read_yaml(ROOT / "data/hyps/hyp.scratch-low.yaml") | {"warmup_epochs": 0, "nominal_batch": 1}
    write_yaml("hyp.yaml", low)


@pytest.fixture
def states(monkeypatch):
    """The state of the model before each epoch of the run, and behind the last."""
    seen, work = [], loop.train_epoch

    def copy(session):
        return {key: value.clone() for key, value in session.model.state_dict().items()}

    def train_epoch(session, caught):
        seen[:] = seen or [copy(session)]
        losses = work(session, caught)
        seen.append(copy(session))
        return losses

    monkeypatch.setattr(loop, "train_epoch", train_epoch)
    return seen


def moved(states, epoch, part):
    """Return whether all, none or some of the tensors with this part in their names changed in an epoch."""
    keys = [key for key in states[0] if part(key) and not key.endswith("anchors")]
    changed = [not torch.equal(states[epoch][key], states[epoch + 1][key]) for key in keys]
    return "all" if all(changed) else "some" if any(changed) else "none"


def is_backbone(key):
    return int(key.split(".")[1]) < 6


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@pytest.mark.parametrize(("until", "expected"), [(2, ["none", "none", "all", "all"]), (None, ["none"] * 4)])
def test_a_backbone_trains_from_its_epoch_on(states, optimizer, until, expected):
    train.run(**SETTINGS, freeze=["backbone"], unfreeze_epoch=until, optimizer=optimizer)

    assert [moved(states, epoch, is_backbone) for epoch in range(4)] == expected
    assert [moved(states, epoch, lambda key: not is_backbone(key)) for epoch in range(4)] == ["all"] * 4


def test_until_then_it_is_as_if_the_rows_were_frozen_for_ever(states):
    train.run(**SETTINGS, freeze=["backbone"], unfreeze_epoch=2)
    staged = [*states]
    states.clear()
    train.run(**SETTINGS, freeze=["backbone"])

    assert all(torch.equal(staged[2][key], states[2][key]) for key in staged[2])
    assert not all(torch.equal(staged[3][key], states[3][key]) for key in staged[3])


def test_parameters_that_never_train_do_not_train_later_either():
    torch.manual_seed(0)
    run_dir = Path(train.run(**SETTINGS | {"hyp": ""}, head="anchor-free", freeze=["8"], unfreeze_epoch=1).save_dir)

    state = torch.load(run_dir / "weights/last.pt", weights_only=True)["state"]
    bins = [value for key, value in state.items() if key.endswith("dfl.conv.weight")]
    assert [value.flatten().tolist() for value in bins] == [list(map(float, range(16)))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unfreeze_epoch": 2}, "--unfreeze-epoch needs rows that are frozen"),
        ({"unfreeze_epoch": 0, "freeze": ["0"]}, "--unfreeze-epoch 0"),
        ({"unfreeze_epoch": 2, "freeze": ["9"]}, "every row of the model is frozen"),
        ({"freeze": ["9"]}, "every row of the model is frozen"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(options, message):
    with pytest.raises(ConfigError, match=message):
        train.run(**SETTINGS | options)
    assert not Path("runs").exists()


@pytest.mark.parametrize(("optimizer", "first"), [("SGD", 0.1 * 1.9), ("AdamW", 0.1)])
def test_the_first_step_of_a_parameter_that_was_frozen_is_that_of_a_new_one(optimizer, first):
    """With Nesterov momentum 0.9 it is the rate times 1 + 0.9 times the gradient, with Adam about the rate itself."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    freezing = Freezing(model, [0], until=1)
    groups = parameter_groups(model, 0.1, 0.0)
    stepper = Stepper(model, build_optimizer(optimizer, groups, 0.9), ModelEMA(model), scaled=False)
    early, late = (layer.weight for layer in (model[1], model[0]))
    before = late.item()
    for epoch in range(2):
        freezing.start(epoch)
        stepper.backward((early + late).sum())  # gradients of 1
        stepper.step(epoch, 1)
        assert late.item() == pytest.approx(before - (0, first)[epoch], abs=1e-6)
