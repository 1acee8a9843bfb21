"""Blocks that are computed again keep less, and give what they gave: losses, gradients, statistics, random numbers."""

import copy
from pathlib import Path

import pytest
import torch
from run_states import differing, read_run
from test_processes import in_processes
from test_resume import stop_after
from tiny_detector import TINY, tiny_model, write_tiny_project
from torch import nn

from models.detector import DetectionModel
from utils.config import make_config
from utils.configs.train import TrainConfig
from utils.errors import ConfigError
from utils.runs import ROOT
from utils.training import inputs
from utils.training.checkpointing import Kept, choose_blocks, recompute_blocks, watch
from utils.training.loop import train
from utils.training.peak import PeakMemory
from utils.yaml_file import read_yaml

SETTINGS = {"cfg": "tiny.yaml", "data": "pets.yaml", "imgsz": 64, "epochs": 2, "batch_size": 2, "workers": 0}
SETTINGS |= {"device": "cpu", "plots": False, "report": False}


def with_backbone(row):
    data = read_yaml(ROOT / "models/yolov5n-emo.yaml")
    return data | {"backbone": [row, *data["backbone"][1:]]}


def with_dropout():
    return TINY | {"backbone": [*TINY["backbone"][:-1], [-1, 1, "nn.Dropout", [0.5]]]}


def steps(model, dtype=None):
    """Return all that two training steps leave: maps, gradients, the state, and the next random number."""
    torch.manual_seed(1)
    for _ in range(2):
        images = torch.rand(2, 3, 64, 64)
        with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
            maps = model(images)
        sum(each.float().square().mean() for each in maps).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"maps": maps, "gradients": gradients, "state": dict(model.state_dict()), "next": torch.rand(1)}


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (with_dropout(), None),
        (with_backbone([-1, 1, "emo_1m", [False, {"drop_path": 0.5}]]), None),
        (with_backbone([-1, 1, "emo_1m", [False, {"drop_path": 0.5}]]), torch.bfloat16),
        pytest.param(with_backbone([-1, 1, "repvit_m1", [False]]), None, marks=pytest.mark.slow),
        pytest.param(with_backbone([-1, 1, "fasternet_t1", [False]]), None, marks=pytest.mark.slow),
        pytest.param(with_backbone([-1, 1, "repvgg_a0", [False]]), None, marks=pytest.mark.slow),
        pytest.param(with_backbone([-1, 1, "timm/mobilenetv3_small_100", [False]]), None, marks=pytest.mark.slow),
        pytest.param(with_backbone([-1, 1, "torchvision/densenet121", [False]]), None, marks=pytest.mark.slow),
        pytest.param("yolov8n.yaml", None, marks=pytest.mark.slow),
    ],
)
def test_a_step_leaves_the_same_bits_behind(data, dtype):
    torch.manual_seed(0)
    plain = DetectionModel(copy.deepcopy(data), load_backbone=False)
    again = copy.deepcopy(plain)
    recompute_blocks(again, (64, 64))

    assert differing(steps(plain, dtype), steps(again, dtype)) == []


def test_blocks_run_twice_in_training_only_and_a_copy_has_blocks_of_its_own():
    model = tiny_model()
    recompute_blocks(model, (64, 64))
    twin = copy.deepcopy(model)
    calls = []
    twin.model[2].cv1.conv.register_forward_hook(lambda *_: calls.append("again"))

    twin.eval()(torch.rand(1, 3, 64, 64))
    in_eval = len(calls)
    twin.train()(torch.rand(2, 3, 64, 64))[0].sum().backward()

    assert (in_eval, len(calls) - in_eval) == (1, 2)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_blocks_are_those_that_need_least():
    def kept(size, *inputs):
        return Kept(size, 1, [(x, x._version) for x in inputs])

    image, a, b = (torch.empty(size, dtype=torch.uint8) for size in (3, 10, 20))
    tree = {
        "": kept(200, image),
        "one": kept(90, image),  # as two blocks, 90 is in memory no longer
        "one.a": kept(40, image),
        "one.b": kept(50, a),
        "two": kept(60, b),
        "act": kept(50),  # on no tensor
    }

    # as blocks one.a, one.b and two: the inputs 3, 10 and 20, the 50 of act, and two, the largest, again
    assert choose_blocks(tree) == (["one.a", "one.b", "two"], 3 + 10 + 20 + 50 + 60)


class ChangesItsInputLater(nn.Module):
    def __init__(self):
        super().__init__()
        self.branch, self.rest = nn.Conv2d(3, 3, 1), nn.Sequential(nn.Conv2d(3, 3, 1), nn.Hardswish())

    def forward(self, x):
        x = x * 2
        x += self.branch(x)
        return self.rest(x)


def test_what_reads_a_map_that_is_changed_in_place_is_no_block():
    kept = watch(ChangesItsInputLater(), (2, 3, 8, 8))

    assert not kept["branch"].can_repeat
    assert kept["rest"].can_repeat


OPAQUE = """
import torch
class Opaque(torch.nn.Module):
    feature_channels, reductions = [8, 8, 8], (8, 16, 32)
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(8, 3, 3, 3))
    def forward(self, x):
        x = torch.nn.functional.conv2d(x, self.weight, padding=1)
        for _ in range(99):
            x = x.sigmoid()
        return [torch.nn.functional.avg_pool2d(x, side) for side in (8, 16, 32)]
def build(*, reductions=None, in_channels=3):
    return Opaque()
"""


@pytest.fixture
def _project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tiny_project()


@pytest.mark.usefixtures("_project")
def test_a_backbone_without_blocks_is_refused_before_anything_is_written():
    Path("opaque.py").write_text(OPAQUE)
    options = {"cfg": str(ROOT / "models/yolov5n.yaml"), "backbone": "opaque.py:build", "checkpointing": True}

    with pytest.raises(ConfigError, match=r"the backbone opaque\.py:build has no blocks"):
        train(make_config(TrainConfig, SETTINGS | options))

    assert not Path("runs").exists()


@pytest.mark.usefixtures("_project")
def test_a_run_is_the_same_with_it_and_may_go_on_without(monkeypatch):
    plain = train(make_config(TrainConfig, SETTINGS))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, batches=3)
        train(make_config(TrainConfig, SETTINGS | {"checkpointing": True, "project": "stopped"}))
    again = train(make_config(TrainConfig, {"resume": "stopped/exp", "checkpointing": False}))
    other = train(make_config(TrainConfig, SETTINGS | {"checkpointing": True}))

    assert (plain / "results.csv").read_text() == (other / "results.csv").read_text()
    whole, *states = (read_run(folder)["state of the run"]["model"] for folder in (plain, again, other))
    assert [differing(whole, state) for state in states] == [[], []]


@pytest.mark.slow
def test_the_peak_of_a_step_falls():
    torch.manual_seed(0)
    plain, images = DetectionModel("yolov5n.yaml").train(), torch.rand(8, 3, 320, 320)
    again = copy.deepcopy(plain)
    recompute_blocks(again, (320, 320))
    memory, peaks = PeakMemory(torch.device("cpu")), []
    before = memory.now()
    for model in (again, plain):  # the smaller one first: what was freed may stay with the process
        memory.reset()
        sum(each.mean() for each in model(images)).backward()
        peaks.append(memory.peak() - before)

    assert peaks[0] < 0.75 * peaks[1]


PROCESSES = """
import sys, torch, torch.distributed as dist
from models.detector import DetectionModel
from utils.collective import join
from utils.dist import rank
from utils.training.checkpointing import recompute_blocks
from utils.training.processes import share_model
join(torch.device("cpu"))
sums = []
for again in (False, True):
    torch.manual_seed(0)
    model = DetectionModel("yolov5n-emo.yaml", load_backbone=False).train()
    if again:
        recompute_blocks(model, (64, 64))
    network = share_model(model, torch.device("cpu"), sync_bn=False)
    torch.manual_seed(rank())
    for _ in range(2):
        sum(maps.square().mean() for maps in network(torch.rand(2, 3, 64, 64))).backward()
    tensors = [*(p.grad for p in model.parameters() if p.grad is not None), *model.state_dict().values()]
    sums.append([t.double().sum().item() for t in tensors])
print(sums[0] == sums[1])
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_have_the_same_gradients_with_it(tmp_path):
    assert in_processes(PROCESSES, (2,), tmp_path) == [["True", "True"]]


def test_norms_over_all_processes_are_refused(monkeypatch):
    monkeypatch.setattr(inputs, "world", lambda: 2)

    with pytest.raises(ConfigError, match="--checkpointing and --sync-bn together"):
        inputs.read_inputs(make_config(TrainConfig, SETTINGS | {"checkpointing": True, "sync_bn": True}), None)
