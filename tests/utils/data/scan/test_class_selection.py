"""Some of the classes of a data set: which are chosen, and what becomes of the labels."""

import numpy as np
import pytest

from tests.annotation_case import NAMES, write_coco
from utils.data.scan.class_selection import keep_classes, select_classes
from utils.data.scan.scan import scan_dataset
from utils.errors import ConfigError

ODD = {0: "car", 1: "truck", 2: "a=b,c", 3: "1", 4: "person"}


@pytest.mark.parametrize(
    ("wanted", "names", "members"),
    [
        (["person", "car"], ["person", "car"], [[4], [0]]),
        (["4", "0"], ["person", "car"], [[4], [0]]),
        (["vehicle=car,truck", "person"], ["vehicle", "person"], [[0, 1], [4]]),
        (["all = car, 4"], ["all"], [[0, 4]]),
        (["a=b,c"], ["a=b,c"], [[2]]),  # a name is a name
        (["1"], ["1"], [[3]]),
        (["Per son", "CAR"], ["person", "car"], [[4], [0]]),  # as ClassMatcher has it
    ],
)
def test_a_class_is_chosen_by_name_or_id_and_several_make_one(wanted, names, members):
    selection = select_classes(wanted, ODD)

    assert (list(selection.names.values()), selection.members) == (names, members)


@pytest.mark.parametrize(
    ("wanted", "what", "fix"),
    [
        (["persn"], "--classes: no class 'persn'", "did you mean person?"),
        (["9"], "--classes: no class '9'", "classes are car, truck, a=b,c, 1, person"),
        (["x=car,bus"], "--classes: no class 'bus'", "classes are car, truck, a=b,c, 1, person"),
        (["x="], "--classes: no class ''", "classes are car, truck, a=b,c, 1, person"),
        (["=car"], "--classes =car: no name in front of =", "give each class a name of its own"),
        (["car", "x=car"], "--classes x=car: car is in car already", "name every class once"),
        (["car", "car"], "--classes car: that name is given twice", "give each class a name of its own"),
        (["x=car", "x=truck"], "--classes x=truck: that name is given twice", "give each class a name of its own"),
    ],
)
def test_a_wrong_choice_is_answered(wanted, what, fix):
    with pytest.raises(ConfigError) as caught:
        select_classes(wanted, ODD)
    assert caught.value.what == what
    assert caught.value.fix.startswith(fix)


def test_the_labels_polygons_and_regions_of_other_classes_vanish(tmp_path):
    spec_file = write_coco(tmp_path, polygons=True)
    scan = scan_dataset([spec_file.parent / "annotations/instances_all.json"], NAMES)
    selection = select_classes(["dog", "thing=cat,traffic light"], NAMES)

    result = keep_classes(scan, selection, len(NAMES))

    assert [rows[:, 0].tolist() for rows in result.labels] == [[1, 0], [1], [], [0, 1, 1]]
    assert [len(polygons) for polygons in result.segments] == [2, 1, 0, 3]
    only_cats = keep_classes(scan, select_classes(["cat"], NAMES), len(NAMES))
    assert [rows[:, 0].tolist() for rows in only_cats.labels] == [[0], [], [], [0]]
    assert [list(map(len, polygons)) for polygons in only_cats.segments] == [[5], [], [], [10]]
    assert scan.labels[0][:, 0].tolist() == [0, 2], "the scan is as it was"


def test_classes_that_no_image_shows_are_refused(tmp_path):
    file = write_coco(tmp_path).parent / "annotations/instances_all.json"
    scan = scan_dataset([file], NAMES)
    empty = keep_classes(scan, select_classes(["cat"], NAMES), len(NAMES))

    with pytest.raises(ConfigError, match="none of the 2 label rows is of dog"):
        keep_classes(empty, select_classes(["dog"], NAMES), len(NAMES))
    np.testing.assert_array_equal(empty.shapes, scan.shapes)
