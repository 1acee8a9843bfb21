"""A model's recipe fills in what the user left alone, and nothing else."""

import pytest

from utils.config import check_config, parse_config
from utils.configs.train import TrainConfig
from utils.errors import ConfigError
from utils.losses import LOSSES
from utils.runs import ROOT
from utils.training.hyp import load_hyp
from utils.training.recipe import apply_recipe

LOSS = LOSSES.get("Detect")
HYP = load_hyp(ROOT / "data/hyps/hyp.scratch-low.yaml", LOSS)
RECIPE = {"optimizer": "AdamW", "lr0": 0.001, "backbone_lr": 0.1}


def test_a_recipe_replaces_what_was_left_alone(caplog):
    caplog.set_level("INFO")
    cfg, hyp = apply_recipe(RECIPE, TrainConfig(), HYP, LOSS, "m.yaml")
    assert (cfg.optimizer, cfg.backbone_lr, hyp["lr0"]) == ("AdamW", 0.1, 0.001)
    assert hyp["momentum"] == HYP["momentum"] and HYP["lr0"] == 0.01
    assert "recipe of m.yaml: optimizer=AdamW, lr0=0.001, backbone_lr=0.1" in caplog.text


def test_flags_and_a_file_of_the_user_go_first():
    cfg, hyp = apply_recipe(RECIPE, TrainConfig(optimizer="Adam", hyp="mine.yaml"), HYP, LOSS, "m.yaml")
    assert (cfg.optimizer, cfg.backbone_lr, hyp["lr0"]) == ("Adam", 0.1, 0.01)


def test_a_flag_that_says_what_is_the_default_anyway_goes_first_too():
    recipe = RECIPE | {"cos_lr": True}

    cfg, _ = apply_recipe(recipe, TrainConfig(optimizer="SGD", backbone_lr=1.0, cos_lr=False), HYP, LOSS, "m.yaml")

    assert (cfg.optimizer, cfg.backbone_lr, cfg.cos_lr) == ("SGD", 1.0, False)


def test_hyper_parameters_for_one_optimizer_are_left_out_with_another(caplog):
    caplog.set_level("INFO")

    cfg, hyp = apply_recipe(RECIPE, TrainConfig(optimizer="SGD"), HYP, LOSS, "m.yaml")

    assert (cfg.optimizer, cfg.backbone_lr, hyp["lr0"]) == ("SGD", 0.1, HYP["lr0"])
    assert "--optimizer SGD goes first, so its optimizer and hyper-parameters are left out" in caplog.text


@pytest.mark.parametrize("given", [None, "AdamW"])
def test_a_file_of_the_user_replaces_the_optimizer_too_unless_its_flag_is_there(given, caplog):
    caplog.set_level("INFO")

    cfg, hyp = apply_recipe(RECIPE, TrainConfig(hyp="mine.yaml", optimizer=given), HYP, LOSS, "m.yaml")

    assert (cfg.optimizer, cfg.backbone_lr, hyp["lr0"]) == (given or "SGD", 0.1, HYP["lr0"])
    assert "--hyp goes first" in caplog.text


def test_a_key_that_a_file_may_lack_gives_way_to_the_file_of_the_user_too():
    cfg = TrainConfig(hyp="mine.yaml")
    hyp = HYP | {"label_smoothing": 0.0}

    _, used = apply_recipe({"label_smoothing": 0.1}, cfg, hyp, LOSS, "m.yaml")

    assert used["label_smoothing"] == 0.0


def test_what_neither_recipe_nor_user_say_has_a_default():
    cfg, _ = apply_recipe({}, TrainConfig(), HYP, LOSS, "m.yaml")

    assert (cfg.optimizer, cfg.backbone_lr, cfg.cos_lr) == ("SGD", 1.0, False)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"optimiser": "SGD"}, "unknown key 'optimiser'"),
        ({"optimizer": "Lion"}, "optimizer: 'Lion'"),
        ({"lr0": -7}, "lr0: -7"),
        ({"backbone_lr": "slow"}, "backbone_lr: 'slow'"),
        ({"backbone_lr": 5000}, "backbone_lr: 5000"),
        ({"backbone_lr": float("nan")}, "backbone_lr: nan"),
        ({"backbone_lr": True}, "backbone_lr: True"),
        ({"cos_lr": 1}, "cos_lr: 1"),
    ],
)
def test_a_wrong_recipe_is_named(recipe, message):
    with pytest.raises(ConfigError, match=r"m\.yaml: recipe") as caught:
        apply_recipe(recipe, TrainConfig(), HYP, LOSS, "m.yaml")
    assert message in caught.value.what


@pytest.mark.parametrize("number", [1e-6, 0.5, 1, 1000, 1e-7, 1000.1, -1, 5000])
def test_a_recipe_may_say_what_the_flag_may(number):
    answers = []
    for say in (
        lambda: parse_config(TrainConfig, ["--backbone-lr", str(number)]),
        lambda: apply_recipe({"backbone_lr": number}, TrainConfig(), HYP, LOSS, "m.yaml"),
        lambda: check_config(TrainConfig(backbone_lr=number)),
    ):
        try:
            say()
            answers.append("taken")
        except ConfigError as error:
            answers.append(error.fix)

    assert len(set(answers)) == 1, answers
