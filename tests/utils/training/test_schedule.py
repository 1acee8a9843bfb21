"""Learning rate, warm-up, early stopping, EMA and parameter groups follow the figures of the reference."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from models.heads._autoanchor import check_anchors, coverage, fit_anchors
from utils.errors import ConfigError
from utils.training.ema import ModelEMA
from utils.training.freeze import Freezing, frozen_rows
from utils.training.optim import Stepper, build_optimizer, parameter_groups
from utils.training.schedule import EarlyStopping, Schedule, ScheduleHyp, lr_factor

HYP = ScheduleHyp()
STANDARD_ANCHORS = np.array(
    [(10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326)], float
)


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1, bias=False))


@pytest.mark.parametrize(
    ("cosine", "expected"), [(False, (1, 0.9967, 0.505, 0.0133)), (True, (1, 0.999973, 0.505, 0.010027))]
)
def test_learning_rate_factor_follows_the_published_schedule(cosine, expected):
    factors = [lr_factor(epoch, 300, 0.01, cosine) for epoch in (0, 1, 150, 299)]
    assert factors == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize(
    ("step", "accumulate", "bias_lr", "other_lr", "momentum"),
    [(250, 2, 0.0775, 0.0025, 0.83425), (500, 2, 0.055, 0.005, 0.8685), (1000, 4, 0.01, 0.01, 0.937)],
)
def test_warmup_ramps_rates_momentum_and_accumulation(step, accumulate, bias_lr, other_lr, momentum):
    optimizer = build_optimizer("SGD", parameter_groups(small_net(), 0.01, 0.0005), 0.937)
    schedule = Schedule(optimizer, replace(HYP, warmup_epochs=10), epochs=300, steps=100, batch_size=16, cosine=False)

    assert schedule.set(step, 0) == accumulate
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([bias_lr, other_lr, other_lr])
    assert optimizer.param_groups[0]["momentum"] == pytest.approx(momentum)


def test_warmup_ends_at_the_rate_of_its_epoch():
    optimizer = build_optimizer("SGD", parameter_groups(small_net(), 0.01, 0.0005), 0.937)
    schedule = Schedule(optimizer, replace(HYP, warmup_epochs=10), epochs=300, steps=100, batch_size=16, cosine=False)

    schedule.set(500, 5)  # half way to 0.01 · (295 / 300 · 0.99 + 0.01) = 0.009835

    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.0549175, 0.0049175, 0.0049175])


@pytest.mark.parametrize(("warmup_epochs", "steps"), [(3, 100), (25.5, 102), (0, 0)])
def test_warmup_lasts_a_hundred_batches_or_longer_unless_it_is_switched_off(warmup_epochs, steps):
    optimizer = build_optimizer("SGD", parameter_groups(small_net(), 0.01, 0.0005), 0.937)
    hyp = replace(HYP, warmup_epochs=warmup_epochs)
    schedule = Schedule(optimizer, hyp, epochs=300, steps=4, batch_size=64, cosine=False)

    rates = []
    for step in range(120):
        schedule.set(step, 0)
        rates.append(optimizer.param_groups[1]["lr"])

    assert sum(rate < 0.01 for rate in rates) == steps
    assert rates[0] == (0 if steps else 0.01)


def test_the_rate_after_warmup_depends_on_the_epoch_alone():
    optimizer = build_optimizer("AdamW", parameter_groups(small_net(), 0.002, 0.0), 0.9)
    schedule = Schedule(optimizer, HYP, epochs=10, steps=100, batch_size=64, cosine=False)

    assert schedule.set(901, 9) == 1
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.002 * lr_factor(9, 10, 0.01, False)] * 3)


def test_only_weights_of_convolutions_decay():
    groups = parameter_groups(small_net(), 0.01, 0.1)
    assert [len(g["params"]) for g in groups] == [2, 2, 1]
    assert [g["weight_decay"] for g in groups] == [0, 0.1, 0]


def test_the_backbone_has_its_own_rate_and_its_vectors_do_not_decay():
    net = small_net()
    net[1].gamma = nn.Parameter(torch.ones(4))
    groups = parameter_groups(net, 0.01, 0.1, backbone=net[1], backbone_lr=0.1)

    assert [len(g["params"]) for g in groups] == [1, 2, 0, 1, 0, 2]
    assert [g["lr"] for g in groups] == pytest.approx([0.01] * 3 + [0.001] * 3)
    optimizer = build_optimizer("SGD", groups, 0.9)
    assert sum(len(g["params"]) for g in optimizer.param_groups) == 6


def test_frozen_rows_have_no_gradients_and_stay_in_eval_mode():
    net = small_net()
    freezing = Freezing(net, frozen_rows(("2",), rows=3, backbone_rows=1))
    freezing.start(9)
    assert [module.training for module in net] == [False, False, True]
    assert [p.requires_grad for p in net.parameters()] == [False] * 4 + [True]
    assert frozen_rows(("backbone",), rows=25, backbone_rows=10) == list(range(10))
    assert frozen_rows(("0", "5"), rows=25, backbone_rows=10) == [0, 5]


@pytest.mark.parametrize("choice", [("head",), ("0", "30"), ("26",), ("-1",), ("²",)])
def test_rows_that_do_not_exist_cannot_be_frozen(choice):
    with pytest.raises(ConfigError, match="--freeze"):
        frozen_rows(choice, rows=25, backbone_rows=10)


@pytest.mark.parametrize(
    ("updates", "decay"),
    [
        *[(1, 0.00049983), (10, 0.00498702), (100, 0.0487657), (1000, 0.39342999), (2000, 0.63205735)],
        *[(10_000, 0.99316273), (100_000, 0.9999)],
    ],
)
def test_the_average_moves_by_the_published_decay(updates, decay):
    model = small_net().double()
    ema = ModelEMA(model)
    before = copy.deepcopy(ema.ema.state_dict())
    ema.updates = updates - 1
    with torch.no_grad():
        model[0].weight.add_(1)
        model[1].running_mean.add_(1)
    ema.update()

    after = ema.ema.state_dict()
    assert (after["0.weight"] - before["0.weight"]).numpy() == pytest.approx(1 - decay, abs=6e-8)
    assert (after["1.running_mean"] - before["1.running_mean"]).numpy() == pytest.approx(1 - decay, abs=6e-8)
    assert torch.equal(after["2.weight"], before["2.weight"])


@pytest.mark.parametrize(("limit", "expected"), [(10.0, (3, 4)), (1.0, (0.6, 0.8)), (2.5, (1.5, 2)), (0.0, (3, 4))])
def test_gradients_are_shrunk_to_the_limit_of_their_norm(limit, expected):
    """They are 3 and 4, and so 5 together; the first step is rate 0.1 times 1 + 0.9 (Nesterov) times the gradient."""
    model = nn.Linear(2, 1, bias=False)
    optimizer = build_optimizer("SGD", parameter_groups(model, 0.1, 0.0), 0.9)
    stepper = Stepper(model, optimizer, ModelEMA(model), scaled=False, max_norm=limit)
    before = model.weight.detach().clone()

    stepper.backward((model.weight * torch.tensor([3.0, 4.0])).sum())
    stepper.step(0, 1)

    assert (before - model.weight).flatten().tolist() == pytest.approx([0.19 * g for g in expected], rel=1e-5)


def test_gradients_of_several_batches_make_one_step():
    model = small_net()
    optimizer = build_optimizer("SGD", parameter_groups(model, 0.1, 0.0), 0.9)
    stepper = Stepper(model, optimizer, ModelEMA(model), scaled=False)
    start = model[0].weight.clone()
    for step, expected in enumerate([False, True, False, True]):
        stepper.backward(model(torch.rand(2, 3, 4, 4)).square().sum())
        assert stepper.step(step, accumulate=2) is expected
        assert torch.equal(model[0].weight, start) is (step == 0)
    assert stepper.ema.updates == 2


def test_training_stops_after_patience_epochs_without_improvement():
    stopper = EarlyStopping(patience=2)
    assert [stopper.stops(epoch, fitness) for epoch, fitness in enumerate([0.1, 0.2, 0.2, 0.1])] == [
        False,
        False,
        False,
        True,
    ]
    assert stopper.best_epoch == 1
    assert not any(EarlyStopping(patience=0).stops(epoch, 0.0) for epoch in range(1000))


def test_coverage_of_the_standard_anchors_matches_the_worked_example():
    sizes = np.array([(10, 13), (200, 50), (7, 90), (300, 300), (33, 23)], float)
    recall, per_box = coverage(sizes, STANDARD_ANCHORS, 4)
    assert (recall, per_box) == (1.0, 3.4)


@pytest.mark.parametrize(
    ("size", "best"),
    [((10, 13), 1), ((200, 50), 0.55556), ((7, 90), 0.33333), ((300, 300), 0.80429), ((33, 23), 1)],
)
def test_a_box_is_covered_from_the_worse_side_of_its_best_anchor_on(size, best):
    sizes = np.array([size], float)

    assert coverage(sizes, STANDARD_ANCHORS, 1 / (best - 1e-5))[0] == 1
    assert coverage(sizes, STANDARD_ANCHORS, 1 / (best + 1e-5))[0] == 0


def test_fitted_anchors_find_the_sizes_that_boxes_have():
    rng = np.random.default_rng(0)
    truth = np.array([(20, 20), (60, 200), (300, 80)], float)
    sizes = np.concatenate([size * rng.uniform(0.95, 1.05, (50, 2)) for size in truth])
    fitted = fit_anchors(sizes, 3, 640, 4.0, rng, generations=100)
    assert fitted == pytest.approx(truth[np.argsort(truth.prod(1))], rel=0.1)


def test_evolution_brings_anchors_nearer_to_boxes_that_they_already_cover():
    sizes = np.exp(np.random.default_rng(1).uniform(3, 4, (50, 2)))  # 20 to 55 pixels: every anchor covers them

    def agreement(generations):
        anchors = fit_anchors(sizes, 3, 640, 4.0, np.random.default_rng(0), generations)
        ratio = sizes[:, None] / anchors
        return np.minimum(ratio, 1 / ratio).min(2).max(1).mean()

    assert agreement(100) > agreement(0) + 0.001


def test_good_anchors_are_kept_and_poor_ones_replaced():
    rng = np.random.default_rng(0)
    sizes = rng.uniform(10, 300, (200, 2))
    assert check_anchors(sizes, STANDARD_ANCHORS, 640, 4.0, rng) is None
    tiny = check_anchors(sizes, STANDARD_ANCHORS / 40, 640, 4.0, rng)
    assert coverage(sizes, tiny, 4.0)[0] > 0.98


@pytest.mark.parametrize(("missed", "kept"), [(2, False), (1, True)])
def test_anchors_that_miss_two_of_a_hundred_boxes_are_replaced(missed, kept):
    sizes = np.array([(10, 10)] * (100 - missed) + [(100, 100)] * missed, float)

    found = check_anchors(sizes, np.array([(10, 10), (12, 12)], float), 640, 4.0, np.random.default_rng(0))

    assert (found is None) == kept
    assert kept or coverage(sizes, found, 4.0)[0] == 1
