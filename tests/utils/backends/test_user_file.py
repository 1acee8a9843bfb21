"""--backbone of val.py, detect.py and export.py allows the file that a checkpoint needs; anything else is refused."""

import pytest
import torch
from tiny_detector import tiny_model

import detect
import export
import val
from models.backbones import allow_user_file, resolve_backbone
from models.detector import DetectionModel
from models.registry import BACKBONES
from utils.backends.choose import load_backend
from utils.backends.pt import load_trained
from utils.checkpoint.native import save_checkpoint
from utils.configs.detect import DetectConfig
from utils.configs.export import ExportConfig
from utils.configs.val import ValConfig
from utils.errors import CheckpointError, ConfigError

FILE = """
from torch import nn

class Tiny(nn.Module):
    def __init__(self, reductions, in_channels, width):
        super().__init__()
        self.reductions = tuple(reductions or (8, 16, 32))
        self.feature_channels = [width] * len(self.reductions)
        self.convs = nn.ModuleList(nn.Conv2d(in_channels, width, r, r) for r in self.reductions)

    def forward(self, x):
        return [conv(x) for conv in self.convs]

def tiny(*, reductions=None, in_channels=3):
    return Tiny(reductions, in_channels, 8)
"""
YAML = {
    "nc": 2,
    "depth_multiple": 1.0,
    "width_multiple": 1.0,
    "anchors": 1,
    "head": [[["P3", "P4", "P5"], 1, "Detect", ["nc", "anchors"]]],
}


@pytest.fixture(autouse=True)
def _registry(monkeypatch):
    resolve_backbone("")
    monkeypatch.setattr(BACKBONES, "_entries", dict(BACKBONES._entries))
    monkeypatch.setattr(BACKBONES, "_aliases", dict(BACKBONES._aliases))


@pytest.fixture
def weights(tmp_path):
    """A checkpoint with a backbone from net.py, which is not allowed yet."""
    name = f"{tmp_path / 'net.py'}:tiny"
    (tmp_path / "net.py").write_text(FILE)
    allow_user_file(name)
    model = DetectionModel(YAML | {"backbone": [[-1, 1, name, [False]]]})
    save_checkpoint(tmp_path / "mine.pt", model, epoch=0, fitness=0.0, training={}, imgsz=64)
    del BACKBONES._entries[name]
    return tmp_path / "mine.pt"


def test_the_file_that_the_checkpoint_needs_is_allowed(weights, tmp_path):
    backend = load_backend(weights, backbone=f"{tmp_path / 'net.py'}:tiny")

    assert backend(torch.zeros(1, 3, 64, 64)).output.shape == (1, 8 * 8 + 4 * 4 + 2 * 2, 7)


@pytest.mark.parametrize(
    ("command", "config"), [(val.main, ValConfig), (detect.main, DetectConfig), (export.main, ExportConfig)]
)
@pytest.mark.parametrize(
    ("backbone", "text"),
    [
        ("repvit_m1", r"^--backbone repvit_m1: a checkpoint names its backbone itself\nfix: .*file\.py:builder$"),
        ("net.py", r"^--backbone net\.py: a checkpoint names its backbone itself\nfix: .*file\.py:builder$"),
        ("net.py:tiny", r"^--backbone net\.py:tiny: the model in tiny\.pt needs no file of yours\n"),
    ],
)
def test_a_backbone_that_would_do_nothing_is_refused(tmp_path, monkeypatch, command, config, backbone, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(FILE)
    save_checkpoint("tiny.pt", tiny_model(), epoch=0, fitness=0.0, training={}, imgsz=64)

    with pytest.raises(ConfigError, match=text):
        command(config(weights="tiny.pt", backbone=backbone))

    assert not (tmp_path / "runs").exists()


def test_an_exported_file_needs_no_backbone(tmp_path):
    with pytest.raises(ConfigError, match=r"--backbone net\.py:tiny: .*x\.onnx holds its backbone already"):
        load_backend(tmp_path / "x.onnx", backbone="net.py:tiny")


def test_another_file_than_the_checkpoints_is_told_from_it(weights, tmp_path):
    (tmp_path / "other.py").write_text(FILE)

    with pytest.raises(
        CheckpointError, match=r"builder 'tiny' of a file net\.py.*; you named .*other\.py:tiny"
    ) as error:
        load_trained(weights, f"{tmp_path / 'other.py'}:tiny")
    assert error.value.fix.startswith("pass --backbone path/to/net.py:tiny;")


def test_a_file_that_was_changed_since_the_training_is_suspected(weights, tmp_path):
    name = f"{tmp_path / 'net.py'}:tiny"
    (tmp_path / "net.py").write_text(FILE.replace("in_channels, 8", "in_channels, 16"))

    with pytest.raises(CheckpointError, match=r"tensor 'model\.0\.convs\.0\.weight' is \(8, 3, 8, 8\)") as error:
        load_trained(weights, name)
    assert error.value.fix == f"check that {name} is the one that it was trained with"
