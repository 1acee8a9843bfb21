"""What models/yolo.py lists and compares."""

import re

import pytest
import torch

from models.report import fuse_check, list_backbones
from models.yolo import DetectionModel, SummaryConfig, main
from utils.errors import ConfigError


def cells(line: str) -> list[str]:
    return re.split(r" {2,}", line)


def test_the_list_gives_names_channels_strides_and_sizes():
    lines = [cells(line) for line in list_backbones("emo_")[1:-1]]

    assert lines[0] == ["emo_1m", "24 32 48 80 168", "2 4 8 16 32", "1,192,168", "EMO_1M, EMO-1M, EMO"]
    assert [line[0] for line in lines] == ["emo_1m", "emo_2m", "emo_5m", "emo_6m"]


def test_the_list_counts_the_libraries():
    assert re.search(r"and \d{4} of timm as timm/NAME and \d+ of torchvision as torchvision/NAME", list_backbones()[-1])


def test_an_alias_and_a_pattern_find_a_backbone():
    assert cells(list_backbones("FasterNet-T0")[1])[0] == "fasternet_t0"
    assert [cells(line)[0] for line in list_backbones("repvgg_b?g*2*")[1:-1]] == [
        "repvgg_b1g2",
        "repvgg_b2g2",
        "repvgg_b3g2",
    ]


def test_models_of_a_library_are_listed_with_the_reason_where_they_cannot_be_backbones():
    lines = list_backbones("timm/inception_v*")

    assert [cells(line)[0] for line in lines[1:3]] == ["timm/inception_v3", "timm/inception_v4"]
    assert "its convolutions are not padded" in lines[1]
    assert cells(list_backbones("torchvision/resnet18")[1])[:3] == [
        "torchvision/resnet18",
        "64 64 128 256 512",
        "2 4 8 16 32",
    ]
    assert "one image size only" in list_backbones("timm/coat_lite_tiny")[1]


def test_a_filter_without_a_match_is_an_error():
    with pytest.raises(ConfigError, match="no backbone matches 'resnut'"):
        list_backbones("resnut")


@pytest.mark.parametrize(
    ("pattern", "fix"),
    [
        ("zzz", "leave the filter out, or put timm/ or torchvision/ before it"),
        ("torchvision/zzz", "give a part of the name of a torchvision model"),
        ("torchvision/alexnett", "did you mean alexnet?"),
        ("timm/zzz", "give a part of the name of a timm model"),
    ],
)
def test_a_filter_without_a_match_is_answered_for_its_library(pattern, fix):
    with pytest.raises(ConfigError) as error:
        list_backbones(pattern)
    assert error.value.fix == fix


def test_a_model_that_wants_multiples_of_a_size_says_so():
    assert "images of multiples of 256" in list_backbones("timm/halonet26t")[1]


def differences(lines: list[str]) -> list[float]:
    return [float(number) for line in lines for number in re.findall(r"\d\.\de[-+]\d\d", line)]


@pytest.fixture(scope="module")
def model():
    return DetectionModel("yolov5n-repvit.yaml")


def test_fusing_is_exact_up_to_rounding(model):
    before = {key: value.clone() for key, value in model.state_dict().items()}

    single_px, single_score, double_px, double_score = differences(fuse_check(model, (64, 64)))

    assert 0 < single_px < 1
    assert 0 < single_score < 1e-3
    assert double_px < 1e-8
    assert double_score < 1e-10
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_wrong_fuse_is_seen(model, monkeypatch):
    monkeypatch.setattr(type(model.backbone), "fuse", lambda self: self.features[0][0].c.weight.mul_(1.5))

    assert differences(fuse_check(model, (64, 64)))[2] > 1e-3


def test_the_command_prints_what_was_asked_for(caplog):
    with caplog.at_level("INFO"):
        main(SummaryConfig(list_backbones="emo_1m"))
        main(SummaryConfig(cfg="yolov5n.yaml", backbone="emo_1m", imgsz=64, device="cpu"))

    assert "24 32 48 80 168" in caplog.text
    assert "P4 (stride 16, 80 channels) → row 4 Concat" in caplog.text
