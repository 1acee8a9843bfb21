"""Flags of train.py from end to end, on three pictures of a cat, a dog and an eel."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_detector import TINY, write_tiny_project

import val
from models.detector import DetectionModel
from utils.checkpoint.load import load_checkpoint
from utils.class_names import numbered_names
from utils.config import make_config
from utils.configs.train import TrainConfig
from utils.data.rng import Stream, generator
from utils.data.scan.scan import scan_dataset
from utils.errors import ConfigError, DataError
from utils.runs import ROOT
from utils.training import loop
from utils.training.loop import train
from utils.training.session import build_session
from utils.yaml_file import read_yaml, write_yaml

SETTINGS = {"cfg": "tiny.yaml", "data": "pets.yaml", "imgsz": 64, "epochs": 1, "batch_size": 2, "workers": 0}
SETTINGS |= {"device": "cpu", "plots": False, "report": False}
LOW = ROOT / "data/hyps/hyp.scratch-low.yaml"


@pytest.fixture(autouse=True)
def _project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tiny_project()


def config(**options):
    return make_config(TrainConfig, SETTINGS | options)


def test_multi_scale_trains_every_batch_at_its_own_size(monkeypatch):
    seen = []
    forward = DetectionModel.forward

    def watched(self, images):
        if self.training:
            seen.append((*images.shape, images.is_contiguous(memory_format=torch.channels_last)))
        return forward(self, images)

    monkeypatch.setattr(DetectionModel, "forward", watched)
    train(config(multi_scale=True, imgsz=128, epochs=4, seed=5, val=False, save=False))

    sizes = [
        int(generator(5, epoch, batch, Stream.SCALE).integers(64, 224)) // 32 * 32
        for epoch in range(4)
        for batch in range(2)
    ]
    assert seen == [(2 - index % 2, 3, size, size, True) for index, size in enumerate(sizes)]
    assert len(set(sizes)) > 2


def test_multi_scale_is_refused_for_a_backbone_of_one_size():
    with pytest.raises(ConfigError, match="--multi-scale: the backbone takes images of 128×128 only"):
        train(config(cfg=str(ROOT / "models/yolov5n.yaml"), backbone="timm/levit_128", imgsz=128, multi_scale=True))

    assert not Path("runs").exists()


def test_with_single_cls_labels_pictures_validation_and_weights_have_one_class(caplog):
    caplog.set_level("INFO")
    session = build_session(config(single_cls=True))
    assert [rows[:, 0].tolist() for rows in session.scans[0].labels] == [[0], [0], [0]]
    assert {
        int(c) for loader in (session.train_loader, session.val_loader) for b in loader for c in b.targets[:, 1]
    } == {0}

    folder = train(config(single_cls=True, plots=True))

    best = load_checkpoint(folder / "weights/best.pt")
    assert (best.names, best.yaml["nc"]) == ({0: "item"}, 1)
    in_cache = scan_dataset(["images"], numbered_names(3)).labels
    assert [rows[:, 0].tolist() for rows in in_cache] == [[0], [1], [2]]
    with pytest.raises(ConfigError) as error:
        val.run(data="pets.yaml", workers=0, plots=False)
    assert "--single-cls" in error.value.fix
    assert val.run(data="pets.yaml", workers=0, plots=False, single_cls=True)[1].shape == (1,)


def test_with_single_cls_a_single_class_keeps_its_name():
    for index in range(3):
        Path(f"labels/{index}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    write_yaml("pets.yaml", {"train": "images", "val": "images", "names": ["cat"]})

    assert build_session(config(single_cls=True)).spec.names == {0: "cat"}


def test_with_single_cls_a_class_id_out_of_range_is_still_an_error():
    Path("labels/1.txt").write_text("3 0.5 0.5 0.4 0.4\n")

    with pytest.raises(DataError, match=r"1\.txt:1 class 3"):
        build_session(config(single_cls=True))


@pytest.mark.parametrize(("share", "expected"), [(None, 0.2), (0.1, 0.1), (0, 0.0)])
def test_label_smoothing_goes_before_file_and_recipe(share, expected):
    write_yaml("hyp.yaml", read_yaml(LOW) | {"label_smoothing": 0.2})
    write_yaml("tiny.yaml", TINY | {"recipe": {"label_smoothing": 0.3}})

    session = build_session(config(label_smoothing=share, hyp="hyp.yaml" if share is None else ""))

    assert session.hyp["label_smoothing"] == session.loss.gains.label_smoothing == expected
    assert read_yaml(session.run_dir / "hyp.yaml")["label_smoothing"] == expected


def test_label_smoothing_is_refused_where_the_loss_has_none():
    with pytest.raises(ConfigError, match=r"--label-smoothing 0\.1: the loss of this head"):
        build_session(config(head="anchor-free", label_smoothing=0.1))

    assert "label_smoothing" not in build_session(config(head="anchor-free", label_smoothing=0.0)).hyp


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_label_smoothing_that_is_no_share_is_refused(share):
    with pytest.raises(ConfigError, match="--label-smoothing"):
        config(label_smoothing=share)


def test_image_weights_follow_the_last_validation(monkeypatch):
    sessions, results = [], iter([[0.25, 0.5, 0.75], [0.0, 1.0, 0.5]])
    build = build_session
    monkeypatch.setattr(loop, "build_session", lambda cfg: sessions.append(build(cfg)) or sessions[0])
    work, before = loop.train_epoch, []

    def train_epoch(session, epoch):
        before.append(session.image_weights.maps.tolist())
        return work(session, epoch)

    monkeypatch.setattr(loop, "train_epoch", train_epoch)
    validate = loop.validate

    def measured(session):
        evaluation = validate(session)
        maps = np.array(next(results))
        monkeypatch.setattr(type(evaluation.metrics), "maps", lambda self, nc: maps)
        return evaluation

    monkeypatch.setattr(loop, "validate", measured)
    train(config(image_weights=True, epochs=2))

    weights = sessions[0].image_weights
    assert before == [[0, 0, 0], [0.25, 0.5, 0.75]]
    assert weights.maps.tolist() == [0, 1, 0.5]
    # one object of each class: chances 1, 0, 1/4 of the sum 5/4
    assert weights.draw(np.array([0.0, 0.799, 0.801, 0.999])).tolist() == [0, 0, 2, 2]


@pytest.mark.parametrize(("options", "limit"), [({}, 10.0), ({"clip_grad": 0.5}, 0.5), ({"clip_grad": 0}, 0.0)])
def test_the_limit_of_the_gradients_is_that_of_the_flag(options, limit):
    assert build_session(config(**options)).stepper.max_norm == limit


@pytest.mark.parametrize("cache", [None, "ram", "disk", "val"])
def test_the_cache_for_validation_leaves_the_training_images_alone(cache):
    session = build_session(config(cache=cache))

    stores = session.train_loader.batches.store, session.val_loader.batches.store
    assert [store.cache for store in stores] == ([None, "ram"] if cache == "val" else [cache, cache])


@pytest.mark.parametrize(("period", "epochs"), [(-1, []), (1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (3, [0, 3]), (9, [0])])
def test_every_so_many_epochs_are_kept(period, epochs):
    folder = train(config(save_period=period, epochs=5, val=False)) / "weights"

    kept = {f"epoch{epoch}.pt" for epoch in epochs}
    assert {path.name for path in folder.iterdir()} == {"best.pt", "last.pt", "last.prev.pt", *kept}
    assert [load_checkpoint(folder / f"epoch{epoch}.pt").epoch for epoch in epochs] == epochs


@pytest.mark.parametrize("period", [0, -2])
def test_a_save_period_that_is_none_is_refused(period):
    with pytest.raises(ConfigError, match=f"--save-period {period}"):
        config(save_period=period)
