"""The table of a model, its totals, and the command that prints them."""

import logging
import subprocess
import sys

import pytest
import torch
from torch import nn

from models.report import build_all
from models.summary import count_flops, fused_line, layer_times, summary_line, summary_table
from models.yolo import DetectionModel, SummaryConfig, main
from utils.errors import ConfigError
from utils.runs import ROOT


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return DetectionModel("yolov5n")


def test_the_table_has_a_line_per_row_and_the_totals(model):
    lines = summary_table(model, 640).splitlines()

    assert len(lines) == 1 + 25 + 1
    assert lines[0].split() == ["row", "from", "n", "params", "module", "arguments"]
    assert lines[1].split() == ["0", "-1", "1", "1,760", "Conv", "[3,", "16,", "6,", "2,", "2]"]
    assert lines[13].split() == ["12", "-1,", "6", "1", "0", "Concat", "[1]"]
    assert lines[-1] == "25 rows, 1,872,157 parameters, 4.5 GFLOPs at 640×640"


def test_the_fused_line_counts_the_norms_that_stay():
    with torch.device("meta"):
        own, fork = (DetectionModel(cfg).eval().fuse() for cfg in ("yolov5n", "yolov5n-fasternet"))

    assert fused_line(own) == summary_line(own)
    assert fused_line(fork) == f"{summary_line(fork)}; 3 batch norms cannot be folded"


def test_flops_grow_with_the_area_and_leave_the_model_as_it_was(model):
    frozen = model.model[0].eval()

    assert count_flops(model, 320) * 4 == count_flops(model, 640)

    assert model.training
    assert not frozen.training
    assert model.model[1].bn.num_batches_tracked == 0
    frozen.train()


def test_flops_of_one_convolution_are_counted_by_hand():
    data = {
        "nc": 1,
        "depth_multiple": 1.0,
        "width_multiple": 1.0,
        "anchors": [[10, 13]],
        "backbone": [[-1, 1, "Conv", [8, 3, 2]]],
        "head": [[-1, 1, "Detect", ["nc", "anchors"]]],
    }

    # 2 · (16·16 · 8 · 3·3·3 of Conv + 16·16 · 6 · 8 of Detect)
    assert count_flops(DetectionModel(data), 32) == 2 * (256 * 8 * 27 + 256 * 6 * 8)


class SharedTwice(nn.Module):
    """A convolution that stands in two places, whose weight a third module has too."""

    def __init__(self):
        super().__init__()
        self.yaml = {"ch": 3}
        self.first = self.second = nn.Conv2d(3, 3, 1, bias=False)
        self.tied = nn.Conv2d(3, 3, 1, bias=False)
        self.tied.weight = self.first.weight

    def forward(self, images):
        return self.tied(self.second(self.first(images)))


def test_flops_of_shared_modules_are_counted_and_their_tensors_stay_in_memory():
    model = SharedTwice()
    weight = model.first.weight

    assert count_flops(model, 10) == 3 * 2 * 3 * 3 * 10 * 10
    assert model.first.weight is model.tied.weight is weight
    assert weight.device.type == "cpu"


def test_every_row_is_timed_and_no_hook_stays(model):
    times = layer_times(model.eval(), torch.rand(1, 3, 64, 64), runs=2)

    assert len(times) == 25
    assert min(times) >= 0 < sum(times)
    assert not [part for part in model.modules() if part._forward_hooks or part._forward_pre_hooks]
    assert "ms" in summary_table(model, 64, times).splitlines()[0].split()
    model.train()


def test_the_wiring_of_a_backbone_stands_in_the_table():
    with torch.device("meta"):
        emo = DetectionModel("yolov5n-emo")

    lines = summary_table(emo).splitlines()

    assert "P4 (stride 16, 80 channels) → row 4 Concat" in lines
    assert lines[0].split()[:3] == ["row", "slot", "from"]
    assert lines[1].split()[:3] == ["0", "0–4", "-1"]
    assert lines[5].split()[:4] == ["4", "8", "-1,", "3"]


def test_the_command_runs_as_a_script_from_anywhere(tmp_path):
    command = [sys.executable, str(ROOT / "models/yolo.py"), "--cfg", "yolov5n", "--device", "cpu", "--imgsz", "64"]

    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-2:] == [
        "25 rows, 1,872,157 parameters, 0.0 GFLOPs at 64×64",
        "fused: 25 rows, 1,867,405 parameters, 0.0 GFLOPs at 64×64",
    ]


def test_the_command_times_rows(caplog):
    caplog.set_level(logging.INFO)

    main(SummaryConfig(cfg="yolov5n", imgsz=64, device="cpu", profile=True, batch_size=2))

    assert "ms per batch of 2" in caplog.text


def test_a_wrong_name_is_answered_with_close_ones():
    with pytest.raises(ConfigError, match="yolov5z: no such file") as error:
        main(SummaryConfig(cfg="yolov5z", device="cpu"))
    assert "did you mean yolov5" in str(error.value)


def test_building_all_names_every_failure_and_continues(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    good, bad = ROOT / "models/yolov5n.yaml", tmp_path / "bad.yaml"
    bad.write_text("nc: 1\n")

    with pytest.raises(ConfigError, match="1 of 2 models"):
        build_all([bad, good], DetectionModel)

    assert f"{bad}: missing 'backbone', 'head'" in caplog.text
    assert "1,872,157 parameters" in caplog.text


def test_a_fused_model_has_a_line_of_its_own(model):
    assert isinstance(model.model[0].bn, nn.BatchNorm2d)
    assert summary_line(DetectionModel("yolov5n").fuse(), 64).startswith("25 rows, 1,867,405 parameters")


def test_counting_leaves_the_batch_norms_as_they_were():
    model = DetectionModel("yolov5n").eval()
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    norm = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    torch.nn.init.constant_(norm.weight, 2.0)
    with torch.no_grad():
        before = model(image)[0]
        count_flops(model, 64)
        assert torch.equal(model(image)[0], before)
    assert "forward" not in vars(norm)
