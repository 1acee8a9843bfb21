"""A head and its loss are two files and a YAML: what trains, validates, detects and exports knows none of them."""

import importlib.util

import pytest
import torch
from tiny_detector import write_tiny_project

from models.registry import LAYERS
from utils.backends.choose import load_backend
from utils.configs.train import TrainConfig
from utils.export.onnx import export_onnx
from utils.losses import LOSSES
from utils.training.loop import train

FILE = '''
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from models.registry import register_layer
from utils.hyper import hyper, take
from utils.losses._contract import register_loss
from utils.predictions import Layout


@register_layer("head")
class DotDetect(nn.Module):
    """One box of the size of two cells around each, and an objectness: (B, N, 5 + nc)."""

    layout = Layout("BN5C")

    def __init__(self, nc, in_channels):
        super().__init__()
        self.nc = nc
        self.convs = nn.ModuleList(nn.Conv2d(channels, 1 + nc, 1) for channels in in_channels)
        self.register_buffer("stride", torch.zeros(len(in_channels)), persistent=False)

    def attach(self, strides):
        self.stride.copy_(torch.tensor(strides))

    def forward(self, features):
        return [conv(x) for conv, x in zip(self.convs, features)]

    def decode(self, maps):
        rows = []
        for x, stride in zip(maps, self.stride.unbind()):
            batch, _, height, width = x.shape
            rows_of = torch.arange(height, device=x.device).view(-1, 1).expand(height, width)
            columns_of = torch.arange(width, device=x.device).expand(height, width)
            centre = (torch.stack((columns_of, rows_of)) + 0.5) * stride
            box = torch.cat((centre, torch.ones_like(centre) * 2 * stride)).expand(batch, -1, -1, -1)
            rows.append(torch.cat((box, x.float().sigmoid()), dim=1).flatten(2).mT)
        return torch.cat(rows, dim=1)

    def take_classes(self, state, nc, pairs):
        return False


@dataclass(frozen=True)
class DotGains:
    dot: float = hyper(2.0, 0, 10)


class DotLoss(nn.Module):
    terms = ("dot", "spread")

    def __init__(self, gains):
        super().__init__()
        self.gains = gains

    def forward(self, maps, targets):
        dot = sum(F.softplus(x.float()).mean() for x in maps) * self.gains.dot
        spread = sum(x.float().var() for x in maps)
        return dot + spread, torch.stack((dot, spread)).detach()


@register_loss("DotDetect", DotGains)
def dot_loss(head, hyp, imgsz):
    return DotLoss(take(DotGains, hyp))
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    for table in (LAYERS, LOSSES):
        monkeypatch.setattr(table, "_entries", dict(table._entries))
    (tmp_path / "dot.py").write_text(FILE)
    spec = importlib.util.spec_from_file_location("dot", tmp_path / "dot.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_head_and_a_loss_of_a_user_train_validate_detect_and_export(toy, caplog):
    caplog.set_level("INFO")
    write_tiny_project()
    (toy / "dot.yaml").write_text(
        "nc: 80\nbackbone:\n  - [-1, 1, Conv, [8, 3, 4, 1]]\n  - [-1, 1, Conv, [8, 3, 2]]\n"
        "head:\n  - [[-1, 0], 1, DotDetect, [nc]]\n"
    )
    run = train(
        TrainConfig(cfg="dot.yaml", data="pets.yaml", epochs=1, imgsz=64, batch_size=4, workers=0, device="cpu")
    )

    header = (run / "results.csv").read_text().split("\n")[0].replace(" ", "").split(",")
    assert header[1:3] == ["train/dot_loss", "train/spread_loss"]
    assert header[7:9] == ["val/dot_loss", "val/spread_loss"]
    assert (run / "results.png").exists()
    assert "dot_loss spread_loss" in " ".join(caplog.text.split())
    assert "taken instead: dot 2" in caplog.text

    weights = run / "weights" / "best.pt"
    backend = load_backend(weights)
    images = torch.rand(2, 3, 64, 96)
    assert backend(images).scores.shape == (2, 16 * 24 + 8 * 12, len(backend.names))
    export_onnx(backend.model, toy / "dot.onnx", (64, 96), dynamic=True)
    exported = load_backend(toy / "dot.onnx")(images)
    torch.testing.assert_close(exported.output, backend(images).output, atol=1e-4, rtol=0)
