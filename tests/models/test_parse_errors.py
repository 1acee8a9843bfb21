"""A mistake in a model YAML is one sentence that names the file, the row and the value; nothing is built or run."""

import copy
import math
import time

import pytest
import torch

from models.detector import DetectionModel
from utils.errors import ConfigError
from utils.yaml_file import write_yaml

SMALL = {
    "nc": 2,
    "depth_multiple": 1.0,
    "width_multiple": 1.0,
    "anchors": [[10, 13, 16, 30], [33, 23, 30, 61]],
    "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 2, "C3", [8]], [-1, 1, "Conv", [8, 3, 2]]],
    "head": [[[1, 2], 1, "Detect", ["nc", "anchors"]]],
}


def message(tmp_path, data):
    path = tmp_path / "cats.yaml"
    write_yaml(path, data)
    with pytest.raises(ConfigError) as error:
        DetectionModel(path)
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def with_row(index, row):
    data = copy.deepcopy(SMALL)
    rows = [*data["backbone"], *data["head"]]
    rows[index] = row
    return data | {"backbone": rows[:3], "head": rows[3:]}


def test_the_unchanged_yaml_builds():
    assert DetectionModel(SMALL).stride.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ([-1, 1, "Convv", [8]], "unknown layer 'Convv'\nfix: did you mean Conv"),
        ([-1, 1, "C3Typo", [8]], "unknown layer 'C3Typo'\nfix: did you mean C3"),
        ([-1, 1, "nn.Upsampel", [None, 2]], "unknown layer 'nn.Upsampel'\nfix: did you mean nn.Upsample"),
        ([-1, 1, "__import__('os')", []], "unknown layer \"__import__('os')\""),
        ([-1, 1, 7, [8]], "unknown layer '7'"),
        ([1, 1, "Conv", [8]], "from [1]: 1 is out of range"),
        ([-3, 1, "Conv", [8]], "from [-3]: -3 is out of range"),
        ([99, 1, "Conv", [8]], "from [99]: 99 is out of range"),
        ([[-1, 0], 1, "Conv", [8]], "Conv reads one map, not 2"),
        ([[], 1, "Conv", [8]], "[] is no row"),
        (["P3", 1, "Conv", [8]], "'P3' is no row"),
        ([True, 1, "Conv", [8]], "True is no row"),
        ([0.5, 1, "Conv", [8]], "0.5 is no row"),
        ("Conv", "'Conv' is not [from, number, module, args]"),
        ([-1, 1, "Conv"], "is not [from, number, module, args]"),
        ([-1, 0, "Conv", [8]], "number 0 is not a whole number from 1 to 1000"),
        ([-1, "2", "Conv", [8]], "number '2' is not a whole number"),
        ([-1, 10**7, "Conv", [8]], "number 10000000 is not a whole number from 1 to 1000"),
        ([-1, 1, "Conv", 8], "args 8 is not a list"),
        ([-1, 1, "Conv", []], "args [] must start with the number of output channels"),
        ([-1, 1, "Conv", ["wide"]], "must start with the number of output channels"),
        ([-1, 1, "Conv", [-8]], "must start with the number of output channels"),
        ([-1, 1, "Conv", [8, "big"]], "Conv refuses the arguments [8, 8, 'big']"),
        ([-1, 1, "Conv", [8, 3, 1, None, 3]], "Conv refuses the arguments"),
        ([-1, 1, "Conv", [8, 1, 1, 0, 1, 1, True, 9]], "Conv refuses the arguments"),
        ([-1, 1, "Conv", [8, 1, 1, 0, 1, 1, "nn.SiLu()"]], "unknown activation 'nn.SiLu()'"),
        ([-1, 1, "Contract", [0]], "gain 0 is not a positive whole number"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, row, text):
    found = message(tmp_path, with_row(1, row))

    assert found.startswith("row 1: ")
    assert text in found


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"nc": 0}, "nc: 0 is not a positive whole number"),
        ({"nc": "two"}, "nc: 'two' is not a positive whole number"),
        ({"nc": True}, "nc: True is not"),
        ({"width_multiple": 0}, "width_multiple: 0 is not a positive number"),
        ({"width_multiple": math.nan}, "width_multiple: nan is not a positive number"),
        ({"width_multiple": math.inf}, "width_multiple: inf is not a positive number"),
        ({"depth_multiple": -1}, "depth_multiple: -1 is not a positive number"),
        ({"channel_multiple": 2.5}, "channel_multiple: 2.5 is not a positive whole number"),
        ({"anchors": [[10, 13, 16], [33, 23, 30]]}, "anchors: [[10, 13, 16], [33, 23, 30]] is not"),
        ({"anchors": [[10, 13], [33, 23, 30, 61]]}, "anchors: "),
        ({"anchors": [[10, -13], [33, 23]]}, "anchors: "),
        ({"anchors": [[], []]}, "anchors: "),
        ({"anchors": []}, "anchors: "),
        ({"anchors": [[10, 13]]}, "row 3: 1 rows of anchors for 2 levels"),
        ({"backbone": {}}, "backbone: {} is not a list of rows"),
        ({"head": []}, "head: [] is not a list of rows"),
        ({"head": [[-1, 1, "Conv", [8]]]}, "the last row must be the one head, found none of 4 rows"),
        ({"activation": "nn.Conv2d()"}, "unknown activation 'nn.Conv2d()'"),
        ({"activation": 3}, "activation: 3 is not a text"),
        ({"normalize": {"mean": [0.5], "std": [0]}}, "normalize: "),
        ({"normalize": {"mean": [0.5, 0.5], "std": [1, 1]}}, "normalize: 2 numbers for 3 channels"),
        ({"widht_multiple": 1}, "unknown key 'widht_multiple'\nfix: did you mean width_multiple"),
        ({"depth_multiple": 1000}, "row 1: 2 repeats × depth 1000 are more than 1000"),
    ],
)
def test_a_wrong_key_is_named(tmp_path, change, text):
    assert text in message(tmp_path, SMALL | change)


@pytest.mark.parametrize(
    "change", [{"nc": "x" * 5000}, {"head": "x" * 5000}, {"x" * 5000: 1}, {"anchors": ["x"] * 5000}]
)
def test_a_long_value_is_not_quoted_whole(tmp_path, change):
    assert len(message(tmp_path, SMALL | change)) < 1500


@pytest.mark.parametrize("part", [0, 1, 2, 3])
def test_a_long_part_of_a_row_is_not_quoted_whole(tmp_path, part):
    row = [-1, 1, "Conv", [8]]
    row[part] = "x" * 5000

    assert len(message(tmp_path, with_row(1, row))) < 1500


def test_all_missing_keys_are_listed_at_once(tmp_path):
    data = {key: SMALL[key] for key in ("nc", "backbone", "head")}

    assert message(tmp_path, data).startswith("missing 'depth_multiple', 'width_multiple', 'anchors'")


@pytest.mark.parametrize("change", [{"width_multiple": 1e6}, {"width_multiple": 1e15}, {"nc": 10**9}])
def test_a_model_beyond_the_parameter_budget_is_refused_before_memory_is_taken(tmp_path, change):
    start = time.perf_counter()

    found = message(tmp_path, SMALL | change)

    assert found.startswith("row ")
    assert "parameters, but" in found or "refuses the arguments" in found
    assert time.perf_counter() - start < 5


def test_maps_that_do_not_fit_together_are_named(tmp_path):
    data = SMALL | {"head": [[[0, 2], 1, "Concat", [1]], [[1, 2], 1, "Detect", ["nc", "anchors"]]]}

    found = message(tmp_path, data)

    assert found.startswith("row 3: Concat does not fit maps of (channels, height, width) [(8, 128, 128), (8, 64, 64)]")


def test_a_row_that_cannot_run_is_named(tmp_path):
    data = with_row(2, [-1, 1, "nn.Upsample", ["None", 2, "sharp"]])

    assert message(tmp_path, data).startswith("row 2: nn.Upsample does not fit maps")


def test_strides_must_be_whole_numbers(tmp_path):
    data = with_row(2, [-1, 1, "nn.MaxPool2d", [3, 2, 0]])

    assert "an image of 256 px becomes maps of [128, 63] cells: no whole strides" in message(tmp_path, data)


def test_a_head_in_the_middle_is_refused(tmp_path):
    data = with_row(1, [[-1, 0], 1, "Detect", ["nc", "anchors"]])

    assert "the last row must be the one head, found row 1, 3 of 4 rows" in message(tmp_path, data)


@pytest.mark.parametrize("content", [[1, 2], "text", None])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, content):
    assert message(tmp_path, content).startswith("not a model YAML")


def test_strings_stand_for_names_literals_or_themselves():
    data = with_row(2, [-1, 1, "nn.Upsample", ["None", "(2, 2)", "nearest"]])
    data["head"] = [[[1, -1], 1, "Detect", ["nc", "anchors"]]]

    upsample = DetectionModel(data).model[2]

    assert (upsample.size, upsample.scale_factor, upsample.mode) == (None, (2.0, 2.0), "nearest")


def test_a_row_may_name_its_own_activation():
    model = DetectionModel(with_row(1, [-1, 1, "Conv", [8, 3, 1, None, 1, 1, "nn.ReLU()"]]))

    assert isinstance(model.model[1].act, torch.nn.ReLU)


def test_repeated_rows_become_a_sequence():
    model = DetectionModel(with_row(1, [-1, 3, "Conv", [8, 3]]))

    assert [key for key in model.state_dict() if key.startswith("model.1.") and key.endswith("conv.weight")] == [
        *("model.1.0.conv.weight", "model.1.1.conv.weight", "model.1.2.conv.weight"),
    ]


def test_the_channels_of_a_map_row_are_not_scaled():
    """na·(nc + 5) = 14 outputs; anything else becomes a multiple of eight after scaling."""
    data = with_row(2, [-1, 1, "Conv", [14, 3, 2]]) | {"width_multiple": 0.5}

    model = DetectionModel(data)

    assert model.model[2].conv.out_channels == 14
    assert model.model[0].conv.out_channels == 8  # 8 · 0.5 rounded up to 8
    assert DetectionModel(data | {"channel_multiple": 2}).model[0].conv.out_channels == 4
