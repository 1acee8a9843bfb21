"""Classes by name or id, and thresholds of their own."""

import pytest
import torch

from utils.detection.classes import class_ids, class_thresholds
from utils.errors import ConfigError
from utils.nms import non_max_suppression
from utils.predictions import BN5C, Predictions

NAMES = {0: "person", 1: "Traffic Light", 2: "0", 3: "person"}


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        (["person"], (0, 3)),
        (["traffic light", "1"], (1,)),
        (["traffic_light", "Traffic-Light"], (1,)),
        (["0"], (2,)),  # a class is called so
        (["3", "1"], (3, 1)),
    ],
)
def test_a_class_is_given_by_name_or_id(given, ids):
    assert class_ids(given, NAMES) == ids


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("person", "not a class with"),
        ("=0.5", "not a class with"),
        ("person=high", "not a class with"),
        ("person=nan", "not a class with"),
        ("person=1.5", "not a class with"),
        ("persn=0.5", "knows no such class"),
        ("7=0.5", "knows 4 classes"),
        ("-0=0.5", "knows 4 classes"),  # not the class 0
    ],
)
def test_a_threshold_that_cannot_be_is_refused(entry, message):
    with pytest.raises(ConfigError, match=message) as error:
        class_thresholds([entry], NAMES)
    assert error.value.fix


def test_a_name_with_an_equals_sign_has_its_threshold_behind_the_last():
    assert class_thresholds(["a=b=0.5"], {0: "a=b"}) == {0: 0.5}


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(
    ("own", "kept"), [({}, [0, 1]), ({0: 0.7}, [1]), ({1: 0.2}, [0, 1, 1]), ({0: 0.7, 1: 0.2}, [1, 1])]
)
def test_a_class_has_its_own_least_confidence_lower_or_higher(own, kept, multi_label):
    # centre, size, objectness, two scores: three boxes apart, of confidence 0.6, 0.5 and 0.3
    rows = [[10, 10, 4, 4, 1, 0.6, 0.0], [30, 10, 4, 4, 1, 0.0, 0.5], [50, 10, 4, 4, 1, 0.0, 0.3]]
    predictions = Predictions(torch.tensor([rows]), BN5C)

    (found,) = non_max_suppression(predictions, conf_thres=0.4, class_thres=own, multi_label=multi_label)

    assert sorted(found[:, 5].int().tolist()) == kept


def test_a_box_below_the_threshold_of_its_class_suppresses_none_of_another():
    rows = [[10, 10, 4, 4, 1, 0.6, 0.0], [10, 10, 4, 4, 1, 0.0, 0.5]]
    predictions = Predictions(torch.tensor([rows]), BN5C)

    (found,) = non_max_suppression(predictions, agnostic=True, class_thres={0: 0.7})

    assert found[:, 5].tolist() == [1]
