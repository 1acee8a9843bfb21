"""A model is compiled before the run has a folder, the trial step leaves nothing; what fails is one sentence."""

from functools import partialmethod

import pytest
import torch
from run_states import differing, read_run
from tiny_detector import tiny_model, write_tiny_project
from torch import nn

from models.detector import DetectionModel
from utils.configs.train import TrainConfig
from utils.errors import ConfigError
from utils.training.compiling import eager
from utils.training.inputs import check_together
from utils.training.loop import train

SETTINGS = {"cfg": "tiny.yaml", "data": "pets.yaml", "imgsz": 64, "epochs": 2, "batch_size": 2, "workers": 0}
SETTINGS |= {"device": "cpu", "plots": False, "report": False, "amp": False}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tiny_project()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))


@pytest.mark.parametrize(("options", "dynamic"), [({}, None), ({"multi_scale": True}, True), ({"rect": True}, True)])
def test_the_trial_step_leaves_nothing_behind(project, monkeypatch, caplog, options, dynamic):
    caplog.set_level("INFO")
    asked = []
    monkeypatch.setattr(DetectionModel, "compile", lambda self, **how: asked.append(how))  # what runs is as written
    plain, compiled = (
        train(TrainConfig(**SETTINGS, **options, name=name, compile=name == "compiled"))
        for name in ("plain", "compiled")
    )

    assert asked == [{"dynamic": dynamic}]
    differences = differing(read_run(plain), read_run(compiled))
    assert [place.rpartition(".")[2] for place in differences] == ["compile", "code"]  # that it was asked for
    assert "--compile: compiled in" in caplog.text


def fail(self, *args, **kwargs):
    raise RuntimeError("No working C++ compiler found:\n('g++',)")


def test_a_compiler_that_is_missing_is_one_sentence_before_the_run_has_a_folder(project, tmp_path, monkeypatch):
    monkeypatch.setattr(DetectionModel, "compile", lambda self, **how: setattr(self, "forward", partialmethod(fail)))
    monkeypatch.setattr(DetectionModel, "__call__", fail)

    with pytest.raises(ConfigError, match=r"cannot compile this model here \(No working C\+\+ compiler found") as error:
        train(TrainConfig(**SETTINGS, compile=True))

    assert error.value.fix.startswith("leave --compile out")
    assert not (tmp_path / "runs").exists()


def test_it_does_not_go_with_blocks_that_are_computed_again():
    with pytest.raises(ConfigError, match="--checkpointing computes blocks again"):
        check_together(TrainConfig(**SETTINGS, compile=True, checkpointing=True))


def test_hooks_see_what_happens_inside_a_compiled_model():
    model, seen = nn.Sequential(nn.Conv2d(3, 4, 1), nn.SiLU()), []
    model.compile(backend="eager")
    model(torch.rand(1, 3, 4, 4))
    model[0].register_forward_hook(lambda *_: seen.append(1))

    with eager(True):
        model(torch.rand(1, 3, 4, 4))

    assert seen == [1]


@pytest.mark.slow
def test_a_compiled_step_is_that_of_the_model_as_written(project):
    torch.manual_seed(0)
    plain, compiled = tiny_model().train(), tiny_model().train()
    compiled.load_state_dict(plain.state_dict())
    compiled.compile()
    images = torch.rand(2, 3, 64, 64)

    for model in (plain, compiled):
        sum(each.float().square().mean() for each in model(images)).backward()

    assert list(compiled.state_dict()) == list(plain.state_dict())
    for (name, one), other in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5, msg=name)
