"""The anchor-free head: widths of its branches, priors, distances from points, order of columns, precision."""

import pytest
import torch

from models.heads.anchor_free import DFL, AnchorFreeDetect
from utils.errors import ConfigError
from utils.predictions import B4CN, Predictions

STRIDES = [8, 16]


def head_of(nc=3, in_channels=(8, 8), **options):
    torch.manual_seed(0)
    head = AnchorFreeDetect(nc, in_channels, **options)
    head.attach(STRIDES[: len(in_channels)])
    return head.eval()


def maps_of(*sizes, nc=3, bins=16):
    return [torch.zeros(1, 4 * bins + nc, *size) for size in sizes]


def set_distances(column, distances, bins=16):
    """Write logits into a column (4·R + nc) whose expected distances, multiples of a half, are the given ones."""
    column[: 4 * bins] = -100.0
    for side, distance in enumerate(distances):
        column[side * bins + int(distance)] = 0.0
        column[side * bins + int(distance + 0.5)] = 0.0


@pytest.mark.parametrize(
    ("first", "nc", "box_width", "class_width"),
    [(64, 80, 64, 80), (64, 20, 64, 64), (64, 365, 64, 100), (320, 80, 80, 320), (8, 1, 64, 8)],
)
def test_widths_of_both_branches_follow_the_first_level(first, nc, box_width, class_width):
    head = AnchorFreeDetect(nc, [first, 2 * first])

    assert [branch[0].conv.in_channels for branch in head.cv2] == [first, 2 * first]
    assert [branch[1].conv.in_channels for branch in head.cv2] == [box_width] * 2
    assert [branch[1].conv.in_channels for branch in head.cv3] == [class_width] * 2
    assert (head.cv2[0][2].out_channels, head.cv3[0][2].out_channels) == (64, nc)


def test_fewer_bins_make_a_narrower_box_branch():
    head = head_of(reg_max=3)

    assert head.cv2[0][1].conv.in_channels == 16
    assert [tuple(x.shape) for x in head([torch.zeros(1, 8, 4, 6), torch.zeros(1, 8, 2, 3)])] == [
        (1, 15, 4, 6),
        (1, 15, 2, 3),
    ]
    assert tuple(head.decode(maps_of((4, 6), (2, 3), bins=3)).shape) == (1, 7, 30)


@pytest.mark.parametrize(
    ("depthwise", "inner"), [(False, ["0", "1"]), (True, ["0.0", "0.1", "1.0", "1.1"])], ids=["yolov8", "yolo11"]
)
def test_state_dict_keys_are_those_of_official_checkpoints(depthwise, inner):
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    conv = ["conv.weight", *(f"bn.{key}" for key in norm)]

    keys = list(AnchorFreeDetect(3, [8], depthwise=depthwise).state_dict())

    assert keys == [
        *(f"cv2.0.{part}.{key}" for part in ("0", "1") for key in conv),
        *("cv2.0.2.weight", "cv2.0.2.bias"),
        *(f"cv3.0.{part}.{key}" for part in inner for key in conv),
        *("cv3.0.2.weight", "cv3.0.2.bias"),
        "dfl.conv.weight",
    ]


def test_the_bins_are_parameters_that_are_not_trained():
    head = AnchorFreeDetect(3, [8])

    assert head.dfl.conv.weight.flatten().tolist() == list(range(16))
    assert tuple(head.dfl.conv.weight.shape) == (1, 16, 1, 1)
    assert [name for name, p in head.named_parameters() if not p.requires_grad] == ["dfl.conv.weight"]


@pytest.mark.parametrize("depthwise", [False, True])
def test_biases_are_set_to_the_prior_of_five_objects_in_640_pixels(depthwise):
    head = AnchorFreeDetect(80, [8] * 5, depthwise=depthwise)

    for _ in range(2):  # set, not added
        head.attach([4, 8, 16, 32, 64])

    classes = [branch[-1].bias.detach() for branch in head.cv3]
    assert [round(bias[0].item(), 4) for bias in classes] == [-12.9229, -11.5366, -10.1503, -8.7641, -7.3778]
    assert all((bias == bias[0]).all() and len(bias) == 80 for bias in classes)
    assert all((branch[-1].bias == 2.0).all() for branch in head.cv2)
    assert head.stride.tolist() == [4, 8, 16, 32, 64]
    assert "stride" not in head.state_dict()


def test_equal_logits_mean_the_middle_bin():
    distances = DFL(16)(torch.full((2, 64, 5), 3.0))

    torch.testing.assert_close(distances, torch.full((2, 4, 5), 7.5))


def test_distances_from_a_point_become_a_box_in_pixels():
    head, (fine, coarse) = head_of(), maps_of((4, 6), (2, 3))
    set_distances(fine[0, :, 1, 2], (1, 0.5, 2, 1.5))  # left, top, right, bottom of (2.5, 1.5): (1.5, 1, 4.5, 3) cells
    fine[0, 64:, 1, 2] = torch.tensor([0.0, 100.0, -100.0])
    set_distances(coarse[0, :, 1, 0], (0, 0, 15, 15))  # of (0.5, 1.5): (0.5, 1.5, 15.5, 16.5) cells

    output = head.decode([fine, coarse])

    assert tuple(output.shape) == (1, 7, 24 + 6)
    torch.testing.assert_close(output[0, :, 1 * 6 + 2], torch.tensor([24.0, 16, 24, 16, 0.5, 1, 0]))
    torch.testing.assert_close(output[0, :, 24 + 3], torch.tensor([128.0, 144, 240, 240, 0.5, 0.5, 0.5]))


def test_points_are_centres_of_cells_by_level_row_column():
    output = head_of().decode(maps_of((2, 3), (1, 2)))

    assert head_of().layout is B4CN
    boxes = Predictions(output, B4CN).boxes[0]
    assert boxes[:, :2].tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12], [8, 8], [24, 8]]
    assert boxes[:, 2:].tolist() == [[120, 120]] * 6 + [[240, 240]] * 2  # 7.5 cells to each side


def test_maps_are_the_same_in_training_and_have_boxes_first():
    head, features = head_of(), [torch.zeros(2, 8, 4, 6), torch.zeros(2, 8, 2, 3)]
    for branch in (*head.cv2, *head.cv3):
        torch.nn.init.zeros_(branch[-1].weight)

    for maps in (head.train()(features), head.eval()(features)):
        assert [tuple(x.shape) for x in maps] == [(2, 67, 4, 6), (2, 67, 2, 3)]
        assert (maps[0][:, :64] == 2.0).all()
        assert (maps[0][:, 64:] < -8).all()


def test_boxes_are_decoded_in_float32_under_autocast():
    head = head_of(in_channels=(8,))
    maps = maps_of((2, 128))
    maps[0][0, :64, 0, 127] = torch.linspace(-1, 1, 64)
    expected = head.decode(maps)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert head([torch.zeros(1, 8, 2, 128)])[0].dtype == torch.bfloat16
        found = head.decode(maps)
        exact_in_short = head.decode([maps[0].new_zeros(maps[0].shape, dtype=torch.bfloat16)])

    assert torch.equal(found, expected)
    assert exact_in_short.dtype == torch.float32
    assert exact_in_short[0, 0, 127].item() == 1020.0  # 127.5 cells: bfloat16 has multiples of 4 there


def test_a_half_model_decodes_in_float32_and_a_double_one_in_float64():
    maps = [torch.randn_like(x) for x in maps_of((4, 6), (2, 3))]

    half = head_of().half().decode([x.half() for x in maps])
    double = head_of().double().decode([x.half().double() for x in maps])

    assert (half.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(half.double(), double, rtol=1e-5, atol=1e-3)


def test_maps_in_channels_last_decode_to_the_same():
    head, maps = head_of(), [torch.randn(2, 67, 4, 6), torch.randn(2, 67, 2, 3)]

    last = head.decode([x.to(memory_format=torch.channels_last) for x in maps])

    torch.testing.assert_close(last, head.decode(maps))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"reg_max": 1}, "reg_max 1: .*two bins.*\n?.*give 16"), ({"nc": 0}, "nc 0: the head needs a class")],
)
def test_what_the_head_cannot_do_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        head_of(**options)
