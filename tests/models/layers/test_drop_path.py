"""Stochastic depth drops whole samples and keeps the mean."""

import torch

from models.layers.drop_path import DropPath


def test_a_sample_is_dropped_whole_or_scaled_up():
    torch.manual_seed(0)
    x = torch.ones(4000, 2, 3, 3)

    y = DropPath(0.2)(x)

    first = y[:, 0, 0, 0]
    assert torch.equal(y, first.view(-1, 1, 1, 1).expand_as(y))
    assert set(first.tolist()) == {0.0, 1.25}
    assert abs(first.mean().item() - 1) < 0.03  # 5 standard deviations of the mean of 4000 draws


def test_nothing_is_dropped_in_eval_mode_or_at_rate_zero():
    x = torch.rand(2, 3)

    assert DropPath(0.9).eval()(x) is x
    assert DropPath(0.0).train()(x) is x
