"""All classes as one: labels, names, and what stays as it was."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from utils.data.scan.one_class import as_one_class, with_one_class
from utils.data.scan.scan_result import ScanResult
from utils.data.scan.spec import DataSpec

SPEC = DataSpec(Path("a.yaml"), Path(), [], [], [], {0: "cat", 1: "dog"})


def test_labels_get_class_0_and_those_of_the_scan_stay():
    rows = np.array([[4, 0.5, 0.5, 0.2, 0.1], [1, 0.2, 0.3, 0.1, 0.1]], np.float32)
    nothing = np.zeros((0, 5), np.float32)
    scan = ScanResult(["a", "b"], [rows, nothing], np.ones((2, 2)), [[], []], [], 2, 0, 1, 0, 0, 0, 0, 0, {}, [], False)

    one = as_one_class(scan)

    assert one.labels[0].tolist() == [[0, *rows[0, 1:].tolist()], [0, *rows[1, 1:].tolist()]]
    assert one.labels[1].shape == (0, 5)
    assert rows[:, 0].tolist() == [4, 1]
    assert one.image_paths == ["a", "b"]


def test_several_classes_become_item_and_a_single_one_keeps_its_name():
    assert (with_one_class(SPEC).names, with_one_class(SPEC).nc) == ({0: "item"}, 1)
    assert with_one_class(replace(SPEC, names={0: "cat"})).names == {0: "cat"}
