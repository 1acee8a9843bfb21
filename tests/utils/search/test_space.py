"""The hyper-parameters that a search varies: YOLOv5's by default, others by a file."""

import re
from types import SimpleNamespace

import optuna
import pytest

from utils.errors import ConfigError
from utils.hyper import limits
from utils.losses import LOSSES
from utils.search.objective import FIGURES
from utils.search.objective import HYP as VALUES
from utils.search.outputs import METRICS, _row
from utils.search.space import GENES, OTHERS, Range, draw, read_space
from utils.training.hyp import known_hyper, load_hyp

HYP = {"Detect": "data/hyps/hyp.scratch-low.yaml", "AnchorFreeDetect": "data/hyps/hyp.yolov8.yaml"}


@pytest.fixture(params=HYP)
def head(request):
    loss = LOSSES.get(request.param)
    return loss, load_hyp(HYP[request.param], loss)


def space(tmp_path, text, head="Detect"):
    (tmp_path / "space.yaml").write_text(text)
    loss = LOSSES.get(head)
    return read_space(str(tmp_path / "space.yaml"), loss, load_hyp(HYP[head], loss))


def test_without_a_file_both_heads_search_the_genes_of_yolov5(head):
    found = read_space("", *head)

    # spec of YOLOv5's train.py, evolve: the thirteen genes and their limits
    limits_of_genes = {
        **dict.fromkeys(("hsv_s", "hsv_v", "translate", "scale"), (0, 0.9)),
        **dict.fromkeys(("flipud", "fliplr", "mosaic", "mixup", "copy_paste"), (0, 1)),
        "hsv_h": (0, 0.1),
        "degrees": (0, 45),
        "shear": (0, 10),
        "perspective": (0, 0.001),
    }
    assert {name: (item.low, item.high) for name, item in found.items()} == limits_of_genes


@pytest.mark.parametrize("name", GENES | OTHERS)
def test_every_known_range_is_of_a_hyper_parameter_that_takes_it(name):
    item, (low, high) = (GENES | OTHERS)[name], limits(known_hyper(LOSSES.get("Detect"))[name])

    assert low <= item.low < item.high <= high


def test_a_file_gives_ranges_or_names_whose_ranges_are_known(tmp_path):
    text = "lr0: [1e-4, 0.1, log]\nclose_mosaic: [0, 20, int]\nmomentum:\nfliplr: [0.2, 0.4]\n"

    assert space(tmp_path, text) == {
        "lr0": Range(1e-4, 0.1, "log"),
        "close_mosaic": Range(0, 20, "int"),
        "momentum": Range(0.6, 0.98),
        "fliplr": Range(0.2, 0.4),
    }
    assert space(tmp_path, "[lr0, momentum]") == {"lr0": OTHERS["lr0"], "momentum": OTHERS["momentum"]}
    assert space(tmp_path, "dfl: [0.5, 3]", "AnchorFreeDetect") == {"dfl": Range(0.5, 3)}


@pytest.mark.parametrize(
    ("text", "head", "what"),
    [
        ("lr: [0, 1]", "Detect", "lr: no hyper-parameter of this model"),
        ("dfl: [0, 1]", "Detect", "dfl: no hyper-parameter of this model"),
        ("close_mosaic:", "Detect", "close_mosaic: no range is known"),
        ("box:", "AnchorFreeDetect", "box: the range of YOLOv5, 0.02 to 0.2, lacks the value of now, 7.5"),
        ("mixup: [0, 2]", "Detect", "both from 0 to 1"),
        ("mixup: [1, 0]", "Detect", "a lower and a higher number"),
        ("mixup: [0.5, 0.5]", "Detect", "a lower and a higher number"),
        ("mixup: [0, .nan]", "Detect", "is not a range"),
        ("lr0: [0, .inf]", "Detect", "is not a range"),
        ("lr0: [0, 0.1, log]", "Detect", "begins above 0"),
        ("lr0: [0.1, 0.2, lin]", "Detect", "is not a range"),
        ("lr0: [0.1]", "Detect", "is not a range"),
        ("lr0: 0.1", "Detect", "is not a range"),
        ("lr0: [a, b]", "Detect", "is not a range"),
        ("mixup: [no, yes]", "Detect", "is not a range"),
        ("close_mosaic: [0, 1.5, int]", "Detect", "whole numbers"),
        ("close_mosaic: [0, .inf, int]", "Detect", "is not a range"),
        ("", "Detect", "no hyper-parameters"),
        ("lr0", "Detect", "no hyper-parameters"),
        ("[1, 2]", "Detect", "no hyper-parameters"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path, text, head, what):
    with pytest.raises(ConfigError, match=re.escape(what)) as error:
        space(tmp_path, text, head)

    assert "space.yaml" in str(error.value) and error.value.fix


def test_values_have_five_digits_and_stay_inside():
    trial = optuna.trial.FixedTrial({"a": 0.123456789, "b": 0.0999999, "c": 7})
    values = {"a": Range(0, 1), "b": Range(0, 0.0999999), "c": Range(0, 10, "int")}

    assert draw(trial, values) == {"a": 0.12346, "b": 0.0999999, "c": 7}


def test_the_value_to_begin_with_is_the_nearest_of_the_range():
    assert Range(0, 45).clip(90) == 45
    assert Range(0, 20, "int").clip(10.0) == 10
    assert Range(1e-5, 0.1, "log").clip(0) == 1e-5


def test_what_a_list_of_transforms_takes_the_place_of_is_not_searched(tmp_path):
    loss = LOSSES.get("Detect")
    hyp = load_hyp(HYP["Detect"], loss) | {"transforms": [{"fliplr": 0.5}]}

    found = read_space("", loss, hyp)

    assert set(GENES) - set(found) == {"hsv_h", "hsv_s", "hsv_v", "flipud", "fliplr"}
    (tmp_path / "space.yaml").write_text("lr0:\nfliplr:\n")
    with pytest.raises(ConfigError, match=r"space\.yaml: fliplr: the list transforms of the hyper-parameters"):
        read_space(str(tmp_path / "space.yaml"), loss, hyp)


def test_the_table_of_a_search_has_columns_of_numbers_alone():
    figures = dict.fromkeys([*METRICS, "val/box_loss"], 0.5)
    attrs = {FIGURES: figures, VALUES: {"lr0": 0.01, "anchors": None, "transforms": [{"fliplr": 0.5}]}}

    row = _row(SimpleNamespace(user_attrs=attrs, value=0.3, number=4))

    assert all(isinstance(value, float | int) for value in row.values())
    assert row["lr0"] == 0.01
