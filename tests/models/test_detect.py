"""The head: order of rows, decoding, priors, anchors, precision."""

import math

import pytest
import torch

from models.heads.detect import Detect
from utils.errors import ConfigError

ANCHORS = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119]]


@pytest.fixture
def head():
    torch.manual_seed(0)
    detect = Detect(4, ANCHORS, [8, 8]).eval()
    detect.attach([8, 16])
    return detect


def silence(head):
    for conv in head.m:
        torch.nn.init.zeros_(conv.weight)
        torch.nn.init.zeros_(conv.bias)


def test_zero_maps_decode_to_cell_centres_and_anchor_sizes(head):
    silence(head)

    maps = head([torch.zeros(2, 8, 4, 6), torch.zeros(2, 8, 2, 3)])
    predictions = head.decode(maps)

    assert [tuple(m.shape) for m in maps] == [(2, 3, 4, 6, 9), (2, 3, 2, 3, 9)]
    assert tuple(predictions.shape) == (2, 3 * (24 + 6), 9)
    first, second_column, second_row, second_anchor = (predictions[0, i] for i in (0, 1, 6, 24))
    torch.testing.assert_close(first, torch.tensor([4, 4, 10, 13, *[0.5] * 5]))
    torch.testing.assert_close(second_column[:4], torch.tensor([12.0, 4, 10, 13]))
    torch.testing.assert_close(second_row[:4], torch.tensor([4.0, 12, 10, 13]))
    torch.testing.assert_close(second_anchor[:4], torch.tensor([4.0, 4, 16, 30]))
    torch.testing.assert_close(predictions[0, -1, :4], torch.tensor([40.0, 24, 59, 119]))  # coarse level, last cell


def test_decoding_a_large_output_reaches_its_bounds(head):
    silence(head)
    head.m[0].bias.data.view(3, 9)[0, :4] = 100.0  # σ = 1: a cell and a half to the right, four times the anchor

    predictions = head.decode(head([torch.zeros(1, 8, 1, 1), torch.zeros(1, 8, 1, 1)]))

    torch.testing.assert_close(predictions[0, 0, :4], torch.tensor([12.0, 12, 40, 52]))


def test_output_channel_is_anchor_times_outputs_plus_output(head):
    silence(head)
    head.m[0].bias.data[1 * 9 + 7] = 5.0  # anchor 1, class 2

    maps = head([torch.zeros(1, 8, 1, 1), torch.zeros(1, 8, 1, 1)])

    assert maps[0][0, :, 0, 0, 7].tolist() == [0, 5, 0]


def test_biases_start_from_the_prior_of_eight_objects_in_640_pixels():
    torch.manual_seed(0)
    head = Detect(80, [[1, 1]] * 4, [8] * 4)
    before = [conv.bias.detach().clone() for conv in head.m]

    head.attach([8, 16, 32, 64])

    added = [conv.bias.detach() - old for conv, old in zip(head.m, before, strict=True)]
    assert [round(delta[4].item(), 4) for delta in added] == [-6.6846, -5.2983, -3.9120, -2.5257]
    assert added[0][5].item() == pytest.approx(-4.8803, abs=5e-5)  # ln(0.6 / 79.00001)
    assert added[0][:4].abs().max() == 0


def test_anchors_are_kept_in_grid_units(head):
    assert head.anchors[0, 0].tolist() == [10 / 8, 13 / 8]
    assert head.anchors[1, 2].tolist() == [59 / 16, 119 / 16]
    assert "stride" not in head.state_dict()


def test_anchors_in_the_wrong_order_are_reversed():
    head = Detect(4, ANCHORS[::-1], [8, 8])

    head.attach([8, 16])

    assert head.anchors[0, 0].tolist() == [10 / 8, 13 / 8]


def test_a_number_of_anchors_gives_usable_shapes():
    head = Detect(4, 3, [8, 8])
    head.attach([8, 16])

    ratios = head.anchors[..., 0] / head.anchors[..., 1]
    torch.testing.assert_close(ratios, torch.tensor([[0.5, 1, 2]] * 2))
    torch.testing.assert_close(head.anchors.prod(-1), torch.full((2, 3), 16.0))


def test_anchors_for_another_number_of_levels_are_refused():
    with pytest.raises(ConfigError, match="2 rows of anchors for 3 levels"):
        Detect(4, ANCHORS, [8, 8, 8])


def test_boxes_are_decoded_in_float32_under_autocast(head):
    features = [torch.randn(1, 8, 64, 128), torch.randn(1, 8, 32, 64)]
    silence(head)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = head(features)
        predictions = head.decode(maps)

    assert maps[0].dtype == torch.bfloat16
    assert predictions.dtype == torch.float32
    assert predictions[0, 127, 0].item() == 127.5 * 8  # 1020 = 4 · 255 would be rounded among multiples of 4


def test_one_class_has_a_finite_prior():
    head = Detect(1, ANCHORS, [8, 8])
    before = head.m[0].bias[5].item()

    head.attach([8, 16])

    assert head.m[0].bias[5].item() - before == pytest.approx(math.log(0.6 / 0.00001), abs=1e-4)
