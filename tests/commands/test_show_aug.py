"""``train.py --show-aug``: sheets of what the run would see, which is then what it sees."""

import cv2
import numpy as np
import pytest
import torch
from drawn_pictures import write_narrow_model, write_pictures

import train
from utils.config import parse_config
from utils.configs.train import TrainConfig
from utils.errors import ConfigError
from utils.runs import ROOT
from utils.training import show_aug
from utils.training.session import build_session
from utils.yaml_file import read_yaml, write_yaml

FEW = ("--cfg", "narrow.yaml", "--data", "pictures.yaml", "--imgsz", 64, "--batch", 4, "--workers", 0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a data set of 10 and 3 drawn pictures, where the commands are started."""
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path, train=10, val=3)
    write_narrow_model(tmp_path)
    return tmp_path


@pytest.fixture
def sheets(monkeypatch):
    """Return what is drawn on each sheet: images, targets, captions."""
    drawn, plot = [], show_aug.plot_batch

    def note(images, targets, path, **kw):
        drawn.append((images, targets, kw["paths"]))
        plot(images, targets, path, **kw)

    monkeypatch.setattr(show_aug, "plot_batch", note)
    return drawn


def run(*flags):
    return train.main(parse_config(TrainConfig, list(map(str, (*FEW, *flags))), prog="t"))


def test_it_draws_what_the_run_then_trains_with_beside_the_images(folder, sheets):
    result = run("--show-aug", 5, "--hyp", "hyp.scratch-high.yaml")

    assert result == folder / "runs/aug/exp"
    assert sorted(path.name for path in result.iterdir()) == ["augment0.jpg"]
    assert not (folder / "runs/train").exists()
    assert min(cv2.imread(str(result / "augment0.jpg")).shape[:2]) > 600
    [(images, targets, captions)] = sheets
    assert captions[:2] == [captions[0], f"{captions[0]}, as trained"]
    assert images.shape == (10, 3, 64, 64)

    flags = map(str, (*FEW, "--hyp", "hyp.scratch-high.yaml", "--device", "cpu", "--dry-run"))  # which makes no folder
    session = build_session(parse_config(TrainConfig, list(flags), prog="t"))
    session.cores.release()
    batches = list(session.train_loader)
    assert images[1::2].equal(torch.cat([batch.images for batch in batches])[:5])  # every second one
    first = batches[0].targets
    assert targets[targets[:, 0] == 1, 1:].equal(first[first[:, 0] == 0, 1:])


def test_the_left_ones_are_the_images_with_the_boxes_of_their_files(folder, sheets):
    run("--show-aug", 1)

    [(_, targets, captions)] = sheets
    with open(captions[0].replace("/images/", "/labels/").replace(".jpg", ".txt")) as file:
        classes = sorted(int(line.split()[0]) for line in file)
    assert sorted(targets[targets[:, 0] == 0, 1].int().tolist()) == classes


@pytest.mark.parametrize(
    ("flags", "count", "shape"),
    [
        (("--imgsz", 64, 96), 9, (64, 96)),
        (("--quad",), 3, (128, 128)),
        (("--rect",), 9, None),
        (("--multi-scale", "--image-weights"), 9, (64, 64)),
    ],
)
def test_it_knows_the_ways_of_sampling(folder, sheets, caplog, flags, count, shape):
    caplog.set_level("INFO")

    run("--show-aug", 9, *flags)

    assert sum(len(images) for images, _, _ in sheets) == 2 * count
    assert all(len(images) <= 16 for images, _, _ in sheets)
    assert shape is None or all(tuple(images.shape[-2:]) == shape for images, _, _ in sheets)
    assert ("--multi-scale: batch 0 is trained at" in caplog.text) == ("--multi-scale" in flags)
    assert ("an epoch has 3 pictures" in caplog.text) == ("--quad" in flags)


def test_a_list_of_transforms_is_shown(folder, sheets):
    off = dict.fromkeys(("hsv_h", "hsv_s", "hsv_v", "fliplr", "mosaic", "translate", "scale"), 0)
    low = read_yaml(ROOT / "data/hyps/hyp.scratch-low.yaml")
    write_yaml(folder / "hyp.yaml", {**low, **off, "transforms": [{"flipud": 1.0}, {"gray": 1.0}]})

    run("--show-aug", 2, "--hyp", "hyp.yaml", "--project", "shown")

    [(images, _, _)] = sheets
    before, after = images[0::2].numpy(), images[1::2].numpy()
    gray = np.stack([cv2.cvtColor(image.transpose(1, 2, 0), cv2.COLOR_RGB2GRAY) for image in before])
    assert np.array_equal(after[:, 0], gray[:, ::-1])
    assert (folder / "shown/exp/augment0.jpg").is_file()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--dry-run",), "--dry-run and --show-aug are each done in place of training"),
        (("--resume",), "--resume goes on with one"),
        (("--device", "0,1"), "--show-aug works in one process"),
        (("--seeds", 2), "--show-aug tells of one training"),
    ],
)
def test_what_does_not_go_with_it_is_refused(folder, flags, message):
    with pytest.raises(ConfigError, match=message):
        run("--show-aug", *flags)
    assert not (folder / "runs").exists()
