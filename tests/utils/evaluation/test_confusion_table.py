"""The confusion matrix adds up: every label and every detection above the threshold is in it once."""

import csv

import numpy as np
import pytest
import torch

from utils.evaluation.observers import confusion_table
from utils.metrics.confusion import ConfusionMatrix

NC = 4


@pytest.fixture
def counted():
    """Return a matrix of random images, some of them without labels or detections, and what was in them by class."""
    rng, matrix = np.random.default_rng(0), ConfusionMatrix(NC)
    labelled, found = np.zeros(NC, int), np.zeros(NC, int)
    for n, m in [(0, 0), (0, 5), (40, 0), *[(40, 8)] * 20]:
        corner = torch.from_numpy(rng.uniform(0, 100, (n + m, 2))).float()
        boxes = torch.cat((corner, corner + torch.from_numpy(rng.uniform(20, 60, (n + m, 2)))), dim=1).float()
        classes = torch.from_numpy(rng.integers(0, NC, n + m)).float()[:, None]
        confidence = torch.from_numpy(rng.random(n)).float()[:, None]
        detections = torch.cat((boxes[:n], confidence, classes[:n]), dim=1)
        matrix.update(detections, torch.cat((classes[n:], boxes[n:]), dim=1))
        labelled += np.bincount(classes[n:, 0].int(), minlength=NC)
        found += np.bincount(classes[:n, 0][confidence[:, 0] > 0.25].int(), minlength=NC)
    return matrix.matrix, labelled, found


def test_columns_sum_to_the_labels_and_rows_to_the_detections(counted):
    matrix, labelled, found = counted

    np.testing.assert_array_equal(matrix.sum(axis=0)[:NC], labelled)
    np.testing.assert_array_equal(matrix.sum(axis=1)[:NC], found)
    assert matrix[NC, NC] == 0
    assert matrix[:NC, :NC].sum() > 50, "there are pairs"


def test_the_table_has_names_counts_and_sums(counted):
    matrix, labelled, found = counted

    head, *rows, last = csv.reader(confusion_table(matrix, ["cat", "=dog", "eel", "a,b"]).splitlines())

    assert head == ["predicted \\ true", "cat", "'=dog", "eel", "a,b", "background", "detections"]
    assert [row[0] for row in rows] == ["cat", "'=dog", "eel", "a,b", "background"]
    assert [[int(value) for value in row[1:6]] for row in rows] == matrix.tolist()
    assert [int(row[6]) for row in rows[:NC]] == found.tolist()
    assert last == ["labels", *map(str, labelled), "", ""]
