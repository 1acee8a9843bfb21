"""--layer-decay: how fast each layer of a backbone learns."""

import pytest
from tiny_detector import write_tiny_project

from models.detector import DetectionModel
from utils.config import make_config
from utils.configs.train import TrainConfig
from utils.errors import ConfigError
from utils.runs import ROOT
from utils.training.layer_decay import layer_factors
from utils.training.optim import parameter_groups
from utils.training.session import build_session
from utils.training.start import plan_model


def model_with(backbone):
    cfg = TrainConfig(cfg=str(ROOT / "models/yolov5n.yaml"), backbone=backbone)
    return DetectionModel(plan_model(cfg).data, load_backbone=False)


def rate(model, factors, name):
    return factors.get(id(model.get_parameter(name)))


TIMM = {  # resnet18 has a stem (0), eight blocks (1 to 8) and a classifier (9); vit_tiny twelve, and 13
    "timm/resnet18": {
        "conv1.weight": 9,
        "layer1.0.conv1.weight": 8,
        "layer1.1.conv2.weight": 7,
        "layer4.0.downsample.0.weight": 2,
        "layer4.1.bn2.bias": 1,
    },
    "timm/convnext_atto": {"stem_0.weight": 13, "stages_0.blocks.0.gamma": 12, "stages_3.blocks.1.norm.weight": 1},
    "timm/vit_tiny_patch16_224": {"model.pos_embed": 13, "model.blocks.0.attn.qkv.weight": 12},
}


@pytest.mark.parametrize(("backbone", "steps"), TIMM.items(), ids=TIMM)
def test_in_models_of_timm_a_layer_is_what_timm_takes_for_one(backbone, steps):
    model = model_with(backbone)

    factors = layer_factors(model, 0.5)

    found = {name: rate(model, factors, f"model.0.body.{name}") for name in steps}
    assert found == {name: 0.5**count for name, count in steps.items()}
    assert len(factors) == len(list(model.backbone.body.parameters()))


OWN = {
    "emo_1m": {"stage0.0": 5, "stage1": 4, "stage2": 3, "stage3": 2, "stage4": 1, "norm": 1},
    "fasternet_t0": {"patch_embed": 8, "stages.0": 7, "stages.6": 1, "norm6": 1},
    "repvgg_a0": {"stage0": 5, "stage1": 4, "stage4": 1},
}


@pytest.mark.parametrize(("backbone", "steps"), OWN.items(), ids=OWN)
def test_in_our_backbones_a_layer_is_a_stage(backbone, steps):
    model = model_with(backbone)

    factors = layer_factors(model, 0.5)

    for part, count in steps.items():
        found = {factors[id(p)] for p in model.backbone.get_submodule(part).parameters()}
        assert len(found) == 1 and found == {0.5**count}
    assert factors.keys() == {id(p) for p in model.backbone.parameters()}


def test_in_a_model_of_rows_a_layer_is_a_row(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.chdir(tmp_path)
    write_tiny_project()
    options = {"cfg": "tiny.yaml", "data": "pets.yaml", "imgsz": 64, "workers": 0, "device": "cpu", "plots": False}

    session = build_session(make_config(TrainConfig, options | {"layer_decay": 0.5, "backbone_lr": 0.1}))

    rates = {id(p): group["lr"] for group in session.stepper.optimizer.param_groups for p in group["params"]}
    for name, p in session.model.named_parameters():  # lr0 is 0.01; six rows are the backbone
        row = int(name.split(".")[1])
        assert rates[id(p)] == pytest.approx(0.01 if row >= 6 else 0.001 * 0.5 ** (6 - row))
    assert session.schedule.base_lrs[:3] == [0.01] * 3  # the columns of results.csv
    assert "learning rates: 0.01, in the backbone 1.56e-05 to 0.0005 by layer" in caplog.text


def test_kinds_of_parameters_stay_apart_in_every_layer():
    model = model_with("timm/resnet18")

    groups = parameter_groups(model, 0.1, 0.5, model.backbone, 1.0, layer_factors(model, 0.5))

    assert len(groups) == 3 * (1 + 9)
    assert [group["weight_decay"] for group in groups] == [0.0, 0.5, 0.0] * 10
    assert [group["biases"] for group in groups] == [True, False, False] * 10
    assert sum(len(group["params"]) for group in groups) == sum(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("factor", [0, -0.5, 1.5, float("nan")])
def test_a_decay_that_is_none_is_refused(factor):
    with pytest.raises(ConfigError, match="--layer-decay"):
        make_config(TrainConfig, {"layer_decay": factor})
