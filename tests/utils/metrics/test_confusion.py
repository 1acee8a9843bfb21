"""The confusion matrix pairs as the reference does and counts every false positive."""

import pytest
import torch
from matching_case import DETECTIONS, LABELS

from utils.metrics.confusion import ConfusionMatrix


@pytest.fixture
def confusion():
    return ConfusionMatrix(nc=3)


def test_counts_of_the_reference(confusion):
    confusion.update(DETECTIONS, LABELS)

    assert confusion.matrix.tolist() == [[1, 0, 0, 2], [0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 1, 0]]


def test_false_positives_count_in_an_image_without_a_match(confusion):
    # The reference counts the missed label only; the detection below the confidence threshold counts in neither.
    confusion.update(DETECTIONS[5:], LABELS[2:])

    assert confusion.matrix.tolist() == [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]


def test_false_positives_count_in_an_image_without_labels(confusion):
    confusion.update(DETECTIONS[:3], torch.zeros(0, 5))

    assert confusion.matrix.tolist() == [[0, 0, 0, 2], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_labels_count_as_missed_in_an_image_without_detections(confusion):
    confusion.update(torch.zeros(0, 6), LABELS)
    confusion.update(torch.zeros(0, 6), LABELS)

    assert confusion.matrix.tolist() == [[0] * 4, [0] * 4, [0] * 4, [2, 2, 2, 0]]


def test_a_wrong_class_counts_off_the_diagonal(confusion):
    confusion.update(torch.tensor([[10.0, 10, 110, 110, 0.9, 2]]), LABELS[:1])

    assert confusion.matrix.tolist() == [[0] * 4, [0] * 4, [1, 0, 0, 0], [0] * 4]


def test_a_label_is_paired_with_the_largest_overlap_not_the_highest_confidence(confusion):
    loose, tight = [10, 10, 112, 80, 0.9, 1], [10, 10, 112, 108, 0.4, 0]

    confusion.update(torch.tensor([loose, tight]), LABELS[:1])

    assert confusion.matrix.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [0] * 4, [0] * 4]


def test_an_overlap_of_exactly_the_threshold_is_no_pair():
    confusion = ConfusionMatrix(nc=1, iou=0.5)

    confusion.update(torch.tensor([[0.0, 0, 10, 5, 0.9, 0]]), torch.tensor([[0.0, 0, 0, 10, 10]]))

    assert confusion.matrix.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("height", "confidence", "counts"),
    [
        (4.6, 0.26, [[1, 0], [0, 0]]),
        (4.4, 0.26, [[0, 1], [1, 0]]),  # overlaps by 0.44
        (4.6, 0.25, [[0, 0], [1, 0]]),  # not above the confidence threshold
    ],
)
def test_both_thresholds_are_those_of_the_reference(height, confidence, counts):
    confusion = ConfusionMatrix(nc=1)

    confusion.update(torch.tensor([[0.0, 0, 10, height, confidence, 0]]), torch.tensor([[0.0, 0, 0, 10, 10]]))

    assert confusion.matrix.tolist() == counts
