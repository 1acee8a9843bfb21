"""Numbers that are not finite: caught before they change a weight or a file, named, and recovered from."""

import json
import math
import signal
from pathlib import Path

import pytest
import torch
from run_states import differing, read_run
from tiny_detector import write_tiny_project
from torch import nn

import train
from utils.config import make_config
from utils.configs.train import TrainConfig
from utils.errors import ConfigError, DivergedError
from utils.runs import ROOT
from utils.training import loop
from utils.training.ema import ModelEMA
from utils.training.finite import first_not_finite
from utils.training.optim import Stepper, build_optimizer, parameter_groups
from utils.training.run_state import RunState
from utils.yaml_file import read_yaml, write_yaml

BATCHES = 3
SETTINGS = {"cfg": "tiny.yaml", "data": "pets.yaml", "imgsz": 64, "epochs": 3, "batch_size": 1, "workers": 0}
SETTINGS |= {"device": "cpu", "plots": False, "report": False, "hyp": "hyp.yaml"}
WEIGHTS = Path("runs/train/exp/weights")


@pytest.fixture(autouse=True)
def _project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tiny_project()
    low = read_yaml(ROOT / "data/hyps/hyp.scratch-low.yaml") | {"warmup_epochs": 0, "nominal_batch": 1}
    write_yaml("hyp.yaml", low)  # a step for every batch
    write_yaml("window.yaml", low | {"nominal_batch": 5})  # a step for every five batches


def run(**options):
    return Path(train.run(**options if "resume" in options else SETTINGS | options).save_dir)


@pytest.fixture
def spoil(monkeypatch):
    """Return a function that lets ``change(output, session, images)`` stand for the output of a row of every session's
    model from now on, while it trains; it returns a list in which the sessions will be.
    """

    def spoil(row, change):
        sessions, images, build = [], {}, loop.build_session

        def build_session(cfg):
            session = build(cfg)
            session.model.register_forward_pre_hook(lambda _, args: images.update(now=args[0]))
            layer = session.model.model[row].conv
            layer.register_forward_hook(
                lambda module, _, output: change(output, session, images["now"]) if module.training else None
            )
            sessions.append(session)
            return session

        monkeypatch.setattr(loop, "build_session", build_session)
        return sessions

    return spoil


def is_batch(session, images, epoch, batch):
    """Return whether these are the images of a batch, whenever it is trained."""
    return torch.equal(images, session.train_loader.batches[epoch, batch].images.float() / 255)


def nan_at(epoch, batch):
    return lambda output, session, images: output * math.nan if is_batch(session, images, epoch, batch) else output


def nan_gradient_at(epoch, batch):
    def change(output, session, images):
        if is_batch(session, images, epoch, batch):
            output.register_hook(lambda gradient: gradient * math.nan)
        return output

    return change


def report(run_dir="runs/train/exp"):
    return json.loads((Path(run_dir) / "nonfinite.json").read_text(), parse_constant=pytest.fail)  # no bare NaN


def place(name="last.pt"):
    state = read_run(WEIGHTS.parent, name)["state of the run"]
    return state["epoch"], state["batch"]


def test_a_module_that_gives_nan_is_named_with_its_batch(spoil):
    sessions = spoil(3, nan_at(1, 1))

    with pytest.raises(DivergedError) as error:
        run()

    found = report()
    assert (found["epoch"], found["batch"], found["module"]) == (1, 1, "model.3.conv")
    assert found["images"] == sessions[0].train_loader.batches[1, 1].paths
    assert found["losses"]["obj"] == "nan" and found["gradient_norm"] == "nan"
    assert error.value.exit_code == 4
    assert "epoch 1, batch 1, in model.3.conv (row 3, Conv)" in error.value.what
    assert "last.pt holds the run up to batch 0 of epoch 1" in error.value.what
    assert place() == (1, 0)


def test_the_last_good_file_of_a_diverged_run_leads_to_the_end_of_one_that_was_never_spoilt(monkeypatch, spoil):
    straight = run(project="straight")
    build = loop.build_session
    spoil(3, nan_at(1, 1))
    with pytest.raises(DivergedError):
        run()
    monkeypatch.setattr(loop, "build_session", build)

    resumed = run(resume=WEIGHTS.parent)

    assert differing(read_run(straight), read_run(resumed)) == []


@pytest.mark.parametrize("how", ["every batch is saved", "a signal"])
def test_a_gradient_that_waits_for_its_step_and_is_not_finite_is_not_saved(monkeypatch, spoil, how):
    spoil(4, nan_gradient_at(0, 1))  # of a window of five batches
    if how == "a signal":
        work = RunState.next_batch

        def next_batch(self, items):
            work(self, items)
            if (self.epoch, self.batch) == (0, 2):
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(RunState, "next_batch", next_batch)
        with pytest.raises(KeyboardInterrupt):
            run(hyp="window.yaml")
        assert list(WEIGHTS.glob("*.pt")) == []
        return
    with pytest.raises(DivergedError, match="gradients are not finite"):
        run(hyp="window.yaml", save_steps=1)

    found = report()
    assert (found["epoch"], found["batch"]) == (0, 1)
    assert found["module"] == "model.4.conv"  # the hook spoils what goes back into it; its norm is behind it
    assert all(isinstance(value, float) for value in found["losses"].values())
    assert place() == (0, 1)


def test_the_batch_is_named_that_spoilt_the_gradients_of_a_step_of_several(spoil):
    spoil(4, nan_gradient_at(0, 2))
    with pytest.raises(DivergedError):
        run(hyp="window.yaml", val=False, save=False)

    assert (report()["epoch"], report()["batch"]) == (0, 2)
    assert "batches" not in report()


def too_fast(limit):
    """Give NaN in epoch 1 as long as the learning rate of weights is above ``limit``."""

    def change(output, session, _):
        rate = session.stepper.optimizer.param_groups[1]["lr"]
        return output * math.nan if session.state.epoch == 1 and rate > limit else output

    return change


def rates(run_dir):
    rows = [line.split(",") for line in (run_dir / "results.csv").read_text().splitlines()]
    column = [title.strip() for title in rows[0]].index("x/lr1")
    return [float(row[column]) for row in rows[1:]]


def test_a_rollback_halves_the_learning_rate_until_it_is_low_enough(spoil, caplog):
    sessions = spoil(3, too_fast(0.002))  # of epoch 1: (1 - 1/3) · 0.99 + 0.01 = 0.67 of 0.01

    run_dir = run(on_nonfinite="rollback")

    assert rates(run_dir) == pytest.approx([0.01, 0.0067 / 4, 0.0034 / 4], abs=1e-6)
    assert read_run(run_dir)["state of the run"]["halvings"] == sessions[0].state.halvings == 2
    assert "going on from batch 0 of epoch 1 with 1/4 of the learning rate (1 rollback left)" in caplog.text
    assert report()["halvings"] == 1  # of the last time


def test_a_run_that_was_stopped_behind_a_rollback_goes_on_with_the_lower_rate(monkeypatch, spoil):
    spoil(3, too_fast(0.002))
    straight = run(on_nonfinite="rollback", project="straight")
    work = RunState.next_batch

    def next_batch(self, items):
        work(self, items)
        if (self.epoch, self.batch) == (2, 1):
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(RunState, "next_batch", next_batch)
        with pytest.raises(KeyboardInterrupt):
            run(on_nonfinite="rollback")

    resumed = run(resume=WEIGHTS.parent)

    assert differing(read_run(straight), read_run(resumed)) == []
    assert (straight / "results.csv").read_bytes() == (resumed / "results.csv").read_bytes()


@pytest.mark.parametrize(("epoch", "halvings"), [(0, 0), (1, 3)])
def test_a_run_that_cannot_be_rolled_back_any_more_stops(spoil, epoch, halvings):
    spoil(3, nan_at(epoch, 0))

    with pytest.raises(DivergedError) as error:
        run(on_nonfinite="rollback")

    assert report()["halvings"] == halvings
    assert ("nothing was saved" in error.value.what) == (halvings == 0)
    assert ("halved 3 times" in error.value.what) == (halvings == 3)


def test_a_statistic_that_is_not_finite_is_not_saved(monkeypatch, spoil):
    sessions, work = spoil(4, lambda output, *_: output), RunState.next_batch

    def next_batch(self, items):
        work(self, items)
        if self.epoch == 1:
            sessions[0].model.model[2].cv1.bn.running_var[0] = math.inf

    monkeypatch.setattr(RunState, "next_batch", next_batch)
    with pytest.raises(DivergedError) as error:
        run(val=False)

    assert "model.2.cv1.bn.running_var is not finite" in error.value.what
    assert report()["module"] == "model.2.cv1.bn"
    assert place() == (1, 0)
    assert [first_not_finite(read_run(WEIGHTS.parent, path.name)["state"]) for path in WEIGHTS.iterdir()] == [None] * 2


@pytest.mark.parametrize("head", [None, "anchor-free"])
def test_a_learning_rate_of_a_million_leaves_no_file_that_is_not_finite(head):
    write_yaml("fast.yaml", read_yaml("hyp.yaml") | {"lr0": 1e6})
    with pytest.raises(DivergedError) as error:
        run(hyp="fast.yaml", head=head, epochs=30, amp=False)

    assert error.value.exit_code == 4
    files = sorted(WEIGHTS.iterdir())
    assert [path.name for path in files][:1] == ["best.pt"]
    for path in files:
        content = read_run(WEIGHTS.parent, path.name)
        state = content["state of the run"] or {}
        assert first_not_finite({"file": content["state"], "run": state and state["model"]}) is None
        assert not state or first_not_finite(state["stepper"]) is None
    saved = place()
    with pytest.raises(DivergedError):  # it is as fast as before
        run(resume=WEIGHTS.parent)
    assert place() >= saved


def test_the_choice_is_stop_or_rollback():
    with pytest.raises(ConfigError, match="--on-nonfinite"):
        make_config(TrainConfig, {"on_nonfinite": "ignore"})


# the optimizer step, with loss scaling


def scaled_stepper(scale):
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    optimizer = build_optimizer("SGD", parameter_groups(model, 0.1, 0.0), 0.9)
    stepper = Stepper(model, optimizer, ModelEMA(model), scaled=False)
    stepper.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return model, stepper


def test_gradients_that_loss_scaling_has_spoilt_are_left_out_and_saved_by_name():
    model, stepper = scaled_stepper(2.0**120)
    weight = model.weight.detach().clone()
    stepper.backward((model.weight * 1e10).sum())  # 2^120 · 1e10 is beyond float32, 1e10 is not

    stepper.check()
    state = stepper.state_dict()
    assert state["overflown"] == ["weight"] and first_not_finite(state) is None
    other_model, other = scaled_stepper(1.0)
    other.load_state_dict(state)
    other.backward((other_model.weight * 0).sum())
    for m, s in ((model, stepper), (other_model, other)):
        assert s.step(0, 1)
        assert torch.equal(m.weight, weight) and s.scaler.get_scale() == 2.0**119


def test_gradients_that_no_scaling_makes_are_an_error():
    model, stepper = scaled_stepper(0.5)
    stepper.backward((model.weight * 1e38 * 1e38).sum())

    with pytest.raises(DivergedError):
        stepper.step(0, 1)


def test_a_loss_that_is_not_finite_is_an_error_even_with_finite_gradients():
    model, stepper = scaled_stepper(4.0)
    before = model.weight.detach().clone()
    stepper.backward(model.weight.sum() + math.inf)

    with pytest.raises(DivergedError, match="a loss is not finite"):
        stepper.step(0, 1)
    assert torch.equal(model.weight, before)
