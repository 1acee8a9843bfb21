"""train.py and export.py from end to end on a handful of drawn pictures, and their answers to wrong input."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from drawn_pictures import write_narrow_model, write_pictures

import export
import train
from models.backbones import resolve_backbone
from utils.checkpoint.load import load_checkpoint
from utils.config import parse_config
from utils.configs.export import ExportConfig
from utils.configs.train import TrainConfig
from utils.data.image.read import read_image
from utils.errors import CheckpointError, ConfigError, DataError, DivergedError
from utils.loggers.row import headings
from utils.plots.image_file import write_image
from utils.runs import ROOT
from utils.training import epoch as epoch_module
from utils.training.optim import Stepper
from utils.yaml_file import read_yaml, write_yaml

FEW = ("--imgsz", 64, "--epochs", 1, "--batch", 4, "--workers", 0, "--device", "cpu")
NARROW = ("--cfg", "narrow.yaml")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A YOLO data set of a few drawn pictures."""
    root = tmp_path_factory.mktemp("pictures")
    write_pictures(root, train=12, val=4)
    return root


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_narrow_model(tmp_path)
    return tmp_path


def run_train(data, *flags):
    train.main(parse_config(TrainConfig, [str(f) for f in ("--data", data / "pictures.yaml", *FEW, *flags)], prog="t"))


def results(folder):
    with (folder / "results.csv").open() as file:
        return [[cell.strip() for cell in row] for row in csv.reader(file)]


def test_a_run_leaves_everything_that_users_look_for(pictures, folder):
    run_train(pictures, *NARROW, "--epochs", 2)

    run = folder / "runs/train/exp"
    written = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert written == {
        *(
            "weights/best.pt",
            "weights/last.pt",
            "weights/last.prev.pt",
            ".lock",
            "results.csv",
            "results.png",
            "labels.jpg",
            "opt.yaml",
            "hyp.yaml",
            "run.json",
            "report.html",
        ),
        *("train_batch0.jpg", "train_batch1.jpg", "train_batch2.jpg", "val_batch0_labels.jpg", "val_batch0_pred.jpg"),
        *("PR_curve.png", "P_curve.png", "R_curve.png", "F1_curve.png", "confusion_matrix.csv", "confusion_matrix.png"),
    }
    header, *rows = results(run)
    assert tuple(header) == headings(("box", "obj", "cls"))
    assert [row[0] for row in rows] == ["0", "1"]
    assert read_yaml(run / "opt.yaml")["epochs"] == 2
    content = torch.load(run / "weights/best.pt", weights_only=True)
    assert (content["nc"], content["imgsz"], content["names"][0]) == (6, 64, "disc")

    export.main(parse_config(ExportConfig, [], prog="e"))
    metadata = {p.key: p.value for p in onnx.load(run / "weights/best.onnx").metadata_props}
    assert metadata["stride"] == "32"
    assert json.loads(metadata["imgsz"]) == [64, 64]
    assert json.loads(metadata["verification"])
    assert metadata["data"] == read_yaml(run / "opt.yaml")["data"]


def test_the_same_seed_gives_the_same_figures_with_any_number_of_workers(pictures, folder):
    for name, workers, seed in (("a", 0, 0), ("b", 2, 0), ("c", 0, 1)):
        run_train(
            *(pictures, *NARROW, "--noplots"),
            *("--name", name, "--workers", workers, "--seed", seed),
        )
    a, b, c = (results(folder / "runs/train" / name) for name in "abc")
    assert a == b
    assert a != c


def test_nosave_and_noval_leave_only_the_last_epoch(pictures, folder):
    run_train(pictures, *NARROW, "--noval", "--nosave", "--noplots", "--epochs", 2)
    _, first, last = results(folder / "runs/train/exp")
    assert first[4] == "nan" and last[4] != "nan"
    assert load_checkpoint(folder / "runs/train/exp/weights/best.pt").epoch == 1


def test_training_continues_from_a_checkpoint(pictures, folder, caplog):
    caplog.set_level("INFO")
    run_train(pictures, *NARROW, "--noplots")
    best = folder / "runs/train/exp/weights/best.pt"
    run_train(pictures, "--weights", best, "--noplots", "--freeze", "backbone", "--optimizer", "AdamW", "--cos-lr")

    assert "transferred 349 of 349 tensors" in caplog.text
    before, after = load_checkpoint(best).state, load_checkpoint(folder / "runs/train/exp2/weights/last.pt").state
    assert torch.equal(before["model.1.bn.running_mean"], after["model.1.bn.running_mean"])
    assert not torch.equal(before["model.24.m.0.weight"], after["model.24.m.0.weight"])


@pytest.fixture(scope="module")
def wide_pictures(pictures, tmp_path_factory):
    """The same pictures, squeezed to half their height."""
    root = tmp_path_factory.mktemp("wide")
    shutil.copytree(pictures, root, dirs_exist_ok=True)
    for path in root.rglob("*.jpg"):
        write_image(path, np.ascontiguousarray(read_image(path)[::2]))
    return root


def test_training_on_rectangular_batches(wide_pictures, folder, caplog):
    caplog.set_level("INFO")
    run_train(wide_pictures, *NARROW, "--rect", "--img", 128)

    assert "--rect" in caplog.text
    for number in range(3):  # two by two pictures with captions: square ones would be higher than wide
        height, width = read_image(folder / f"runs/train/exp/train_batch{number}.jpg").shape[:2]
        assert width > height
    assert load_checkpoint(folder / "runs/train/exp/weights/last.pt").facts["imgsz"] == 128


@pytest.mark.slow
def test_training_on_joined_images(pictures, folder, monkeypatch, caplog):
    caplog.set_level("INFO")
    batches, losses = [], []
    backward = Stepper.backward
    monkeypatch.setattr(Stepper, "backward", lambda self, loss: losses.append(loss.item()) or backward(self, loss))
    plot = epoch_module.plot_batch
    monkeypatch.setattr(
        epoch_module, "plot_batch", lambda *args, **kw: batches.append(args[0].shape) or plot(*args, **kw)
    )

    run_train(pictures, *NARROW, "--quad")

    assert "--quad: pictures of 128×128 pixels, a quarter as many" in caplog.text
    assert batches == [(1, 3, 128, 128)] * 3
    table = dict(zip(*results(folder / "runs/train/exp"), strict=True))
    shown = sum(float(table[f"train/{term}_loss"]) for term in ("box", "obj", "cls"))
    assert sum(losses) / 3 == pytest.approx(4 * shown, rel=1e-3)  # one image a batch: the loss itself would be the sum


@pytest.mark.slow
def test_training_with_height_and_width(pictures, folder, caplog):
    caplog.set_level("INFO")
    run_train(pictures, *NARROW, "--img", 64, 100)

    run = folder / "runs/train/exp"
    assert "--imgsz 100 is no multiple of the stride 32, or under two cells; using 128" in caplog.text
    assert "images 64×128 px" in caplog.text
    assert read_yaml(run / "opt.yaml")["imgsz"] == [64, 100]
    assert load_checkpoint(run / "weights/last.pt").facts["imgsz"] == 128
    export.main(parse_config(ExportConfig, [], prog="e"))
    metadata = {p.key: p.value for p in onnx.load(run / "weights/best.onnx").metadata_props}
    assert json.loads(metadata["imgsz"]) == [128, 128]


def test_published_weights_of_a_backbone_are_loaded_and_reported_in_the_run_folder(pictures, folder):
    torch.save(resolve_backbone("emo_1m")().state_dict(), "emo.pth")
    run_train(pictures, *NARROW, "--backbone", "emo_1m", "--backbone-weights", "emo.pth", "--noplots")

    run = folder / "runs/train/exp"
    report = read_yaml(run / "backbone_weights.yaml")
    assert (report["matched"]["tensors"], report["missing"]) == (215, [])
    assert load_checkpoint(run / "weights/last.pt").yaml["normalize"]["mean"] == [0.485, 0.456, 0.406]


def test_a_loss_that_is_not_finite_stops_the_run(pictures, folder):
    hyp = read_yaml(ROOT / "data/hyps/hyp.scratch-low.yaml") | {"box": 1e38, "obj": 1e38}
    write_yaml(folder / "hyp.yaml", hyp)
    with pytest.raises(DivergedError, match="diverged"):
        run_train(pictures, *NARROW, "--hyp", "hyp.yaml", "--noplots", "--epochs", 3)


@pytest.mark.parametrize(
    ("flags", "kind", "message"),
    [
        (("--cfg", "yolov5n.yml"), ConfigError, "yolov5n"),
        (("--cfg", "yolov5n.yaml", "--epochs", 0), ConfigError, "--epochs 0 is out of range"),
        (("--cfg", "yolov5n.yaml", "--data", "nowhere.yaml"), ConfigError, "nowhere"),
        (("--cfg", "yolov5n.yaml", "--device", "7"), ConfigError, "--device '7' is not on this machine"),
        (("--weights", "missing.pt"), CheckpointError, "missing.pt"),
        (("--cfg", "yolov5n.yaml", "--freeze", "neck"), ConfigError, "--freeze neck"),
        (("--cfg", "yolov5n.yaml", "--quad", "--batch", 6), ConfigError, "--quad joins 4 images, and --batch-size 6"),
    ],
)
def test_wrong_input_is_one_error_and_leaves_no_run_folder(pictures, folder, flags, kind, message):
    with pytest.raises(kind, match=message):
        run_train(pictures, *flags)
    assert not (folder / "runs").exists()


def test_a_class_id_that_the_data_set_does_not_have_stops_before_training(pictures, folder):
    write_yaml(
        folder / "few.yaml", {"path": str(pictures), "train": "images/train", "val": "images/val", "names": ["x"]}
    )
    with pytest.raises(DataError, match=r"labels/train/\d+\.txt:\d+ class \d"):
        run_train(pictures, "--cfg", "yolov5n.yaml", "--data", folder / "few.yaml")


def test_a_typing_error_ends_with_code_2_and_one_sentence(folder):
    result = subprocess.run(
        [sys.executable, ROOT / "train.py", "--epocs", "3"], cwd=folder, capture_output=True, text=True
    )
    assert result.returncode == 2
    assert result.stderr.splitlines()[0] == "error: unknown argument '--epocs'"
    assert "--epochs" in result.stderr.splitlines()[1]
    assert len(result.stderr.splitlines()) == 2
