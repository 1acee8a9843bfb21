"""Several processes train as one does: same batches, same losses, same metrics; and they end together."""

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_detector import tiny_model, write_tiny_project

import train
from utils import launch
from utils.checkpoint.native import save_checkpoint
from utils.class_names import numbered_names
from utils.config import make_config, parse_config
from utils.configs.train import TrainConfig
from utils.data.loader import build_train_loader
from utils.data.mosaic.augment import AugmentConfig
from utils.data.order import Sampling, own_part
from utils.data.scan.scan import scan_dataset
from utils.data.shapes.dataset import draw_picture
from utils.launch import _free_port, _run
from utils.plots.image_file import write_image
from utils.runs import ROOT
from utils.training import loop
from utils.yaml_file import read_yaml, write_yaml

IMAGES = 13


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A data set of thirteen drawn pictures, a tiny model for it, and weights of such a model."""
    root = tmp_path_factory.mktemp("pictures")
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    for index in range(IMAGES):
        image, labels = draw_picture("train", index)
        write_image(root / f"images/{index:02}.jpg", image)
        rows = "".join(f"{int(row[0]) % 3} {' '.join(map(str, row[1:]))}\n" for row in labels.tolist())
        (root / f"labels/{index:02}.txt").write_text(rows)
    write_yaml(root / "pictures.yaml", {"train": "images", "val": "images", "names": ["a", "b", "c"]})
    model = tiny_model()
    save_checkpoint(root / "tiny.pt", model, epoch=0, fitness=0.0, training={})
    write_yaml(root / "tiny.yaml", model.yaml)
    return root


FORKING = """
import importlib, json, os, sys, traceback

code, runs, imported = json.load(sys.stdin)
for name in imported:  # once for all, as it takes longer than what they do
    importlib.import_module(name)

def start(number, count, port):
    if process := os.fork():
        return process
    failed = 1
    try:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
        os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number)}
        os.dup2(os.open(f"out{count}-{number}", os.O_CREAT | os.O_TRUNC | os.O_WRONLY), 1)
        exec(compile(code, "process", "exec"), {"__name__": "__main__"})
        failed = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(failed)

for count, port in runs:
    started = [start(number, count, port) for number in range(count)]
    if any([os.waitpid(process, 0)[1] for process in started]):
        sys.exit(1)
"""


def in_processes(code, counts, folder, imported=("torch", "torch.distributed")):
    """Run Python code once for each of ``counts``, in so many processes; return what each of each run has printed."""
    result = subprocess.run(
        [sys.executable, "-c", FORKING],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        input=json.dumps([code, [(count, _free_port()) for count in counts], imported]),
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return [[(folder / f"out{n}-{number}").read_text().splitlines()[-1] for number in range(n)] for n in counts]


@pytest.mark.parametrize(("count", "parts"), [(8, 2), (7, 3), (2, 2), (1, 4), (3, 5)])
def test_the_parts_of_a_batch_are_the_whole_and_none_is_empty(count, parts):
    own = [own_part(count, number, parts) for number in range(parts)]

    assert all(len(part) >= 1 for part in own)
    if count >= parts:
        assert list(itertools.chain(*own)) == list(range(count))
    assert max(map(len, own)) - min(map(len, own)) <= 1


def test_processes_paint_together_what_one_paints(pictures):
    scan = scan_dataset([str(pictures / "images")], numbered_names(3))
    augment = AugmentConfig(mosaic=0.7, mixup=0.5, scale=0.5, translate=0.1, fliplr=0.5, hsv_v=0.4)

    def epoch(number, parts):
        sampling = Sampling(part=(number, parts))
        loader = build_train_loader(scan, 64, 5, augment, seed=1, workers=0, sampling=sampling)
        loader.set_epoch(2)
        return list(loader)

    for whole, *parts in zip(epoch(0, 1), *(epoch(number, 3) for number in range(3)), strict=True):
        assert torch.equal(whole.images, torch.cat([part.images for part in parts]))
        assert whole.paths == [path for part in parts for path in part.paths]
        offset = np.cumsum([0, *(len(part.images) for part in parts)])
        moved = [
            part.targets + torch.tensor([first, 0, 0, 0, 0, 0]) for first, part in zip(offset, parts, strict=False)
        ]
        assert torch.equal(whole.targets, torch.cat(moved))


VALIDATE = """
import json, torch
from utils.class_names import numbered_names
from utils.collective import join, leave
from utils.dist import rank, world
from utils.checkpoint.load import load_model
from utils.data.loader import build_val_loader
from utils.data.scan.scan import scan_dataset
from utils.evaluation.evaluate import evaluate
from utils.losses import build_loss
from utils.predictions import Predictions
from utils.training.hyp import load_hyp
from utils.losses import find_loss
cpu = torch.device("cpu")
join(cpu)
model = load_model("tiny.pt")
loss = build_loss(model.head, load_hyp("{root}/data/hyps/hyp.scratch-low.yaml", find_loss(type(model.head))), 64)
loader = build_val_loader(scan_dataset(["images"], numbered_names(3)), 64, 2, workers=0)
loader.take_part(rank(), world())
predict = lambda images: (lambda out: (Predictions(out[0], model.head.layout), out[1]))(model(images))
found = evaluate(predict, loader, names=model.names, device=cpu, loss=loss)
print(json.dumps([found.images, found.figures(), found.losses, found.metrics.ap.tolist()]))
leave()
""".replace("{root}", str(ROOT))


def test_a_shared_validation_has_the_metrics_of_one_process(pictures):
    [alone], shared = in_processes(VALIDATE, (1, 3), pictures)

    assert json.loads(alone)[0] == IMAGES
    assert shared == [alone] * 3


TRAIN = """
import json, sys, torch
torch.Tensor.float = torch.Tensor.double  # so that nothing but the arithmetic of sharing is left to differ
torch.set_default_dtype(torch.float64)
from utils import collective
from utils.training import session
from utils.training.run_state import RunState
read, note, losses = session.read_inputs, RunState.next_batch, []
def read_inputs(*args):
    inputs = read(*args)
    inputs.model.double()
    return inputs
def next_batch(self, items):
    losses.append(collective.mean(items).tolist())
    note(self, items)
session.read_inputs, RunState.next_batch = read_inputs, next_batch
import train
train.run(cfg="tiny.yaml", data="pictures.yaml", imgsz=64, batch_size=13, epochs=6, workers=0, device="cpu", amp=False,
          plots=False, val=False, save=False, sync_bn=True, hyp="hyp.yaml", project=sys.argv[0] + str(torch.rand(1)))
print(json.dumps(losses))
"""


def test_two_processes_train_as_one(pictures):
    low = read_yaml(ROOT / "data/hyps/hyp.scratch-low.yaml")
    write_yaml(pictures / "hyp.yaml", low | {"nominal_batch": 26, "mixup": 0.3, "warmup_epochs": 0})

    imported = ("torch._dynamo", "torch.distributed", "matplotlib.figure")
    [alone], [first, second] = in_processes(TRAIN, (1, 2), pictures, imported)

    assert first == second
    alone, first = json.loads(alone), json.loads(first)
    assert len(alone) == 6  # one batch of all images, six for one process and seven for the other
    np.testing.assert_allclose(first, alone, rtol=1e-9)


@pytest.fixture
def in_two(tmp_path, monkeypatch):
    """What a run in two processes has found, in its working folder."""
    monkeypatch.chdir(tmp_path)
    write_tiny_project()
    options = {"imgsz": 64, "batch_size": 2, "epochs": 1, "workers": 0, "device": "cpu,cpu", "plots": False}
    return train.run(cfg="tiny.yaml", data="pets.yaml", **options)


def last_state():
    return torch.load("runs/train/exp/weights/last.pt", weights_only=True)["training"]["resume"]


def test_training_in_two_processes_ends_with_one_run_folder(capfd, in_two, tmp_path, monkeypatch):
    assert in_two.save_dir == str(tmp_path / "runs/train/exp")
    assert [path.name for path in Path("runs/train").iterdir()] == ["exp"]
    assert len(Path("runs/train/exp/results.csv").read_text().splitlines()) == 2
    assert capfd.readouterr().out.count("results in ") == 1
    state = last_state()
    assert len(state["generators"]) == state["machine"]["processes"] == 2

    launched = []
    monkeypatch.setattr(loop, "launch", lambda cfg: launched.append(cfg.device) or Path(cfg.resume))
    assert train.run(resume=in_two.save_dir, epochs=2).save_dir == in_two.save_dir
    assert launched == ["cpu,cpu"]  # as the run was


@pytest.mark.slow
def test_training_in_two_processes_goes_on_in_two(in_two):
    again = train.run(resume=in_two.save_dir, epochs=2)

    assert again.save_dir == in_two.save_dir
    assert len(Path("runs/train/exp/results.csv").read_text().splitlines()) == 3
    state = last_state()
    assert (state["machine"]["processes"], state["epoch"]) == (2, 2)


def test_options_reach_the_processes_also_where_they_are_the_defaults():
    cfg = make_config(TrainConfig, {"epochs": 100, "cfg": "my model.yaml", "save": False, "imgsz": (96, 64), "seed": 1})

    flags = launch.typed(cfg)

    assert parse_config(TrainConfig, flags) == cfg
    assert {"--epochs=100", "--cfg=my model.yaml", "--no-save"} <= set(flags)
    assert not any(flag.startswith("--patience") for flag in flags)


def job(code):
    return [sys.executable, "-c", code], {}


def test_where_one_process_fails_all_end_with_its_code(monkeypatch):
    monkeypatch.setattr(launch, "GRACE_S", 0.5)
    start = time.monotonic()

    assert _run([job("import sys; sys.exit(4)"), job("import time; time.sleep(100)")]) == 4
    assert time.monotonic() - start < 30
    assert _run([job("import os; os.kill(os.getpid(), 9)"), job("")]) == 137
    assert _run([job(""), job("")]) == 0
