"""Kinds of errors and what they cost, worked out by hand on one image."""

import pytest
import torch

from utils.metrics.error_kinds import ErrorTally, image_errors
from utils.metrics.matching import in_ignored, iou_levels, match_detections

CAT, DOG = 0, 1
FOUND, MISTAKEN, MISSED = [0, 0, 10, 10], [50, 50, 60, 60], [80, 80, 90, 90]
BESIDE = [5, 0, 15, 10]  # IoU 1/3 with FOUND
LABELS = [[CAT, *FOUND], [DOG, *MISTAKEN], [CAT, *MISSED]]
DETECTIONS = [
    [*FOUND, 0.9, CAT],
    [*FOUND, 0.8, CAT],  # a duplicate
    [*MISTAKEN, 0.7, CAT],  # of another class
    [*BESIDE, 0.6, CAT],  # badly placed
    [*BESIDE, 0.5, DOG],  # both
    [200, 200, 210, 210, 0.4, DOG],  # background
]


def judged(detections, labels, ignored=()):
    detections, labels = (
        torch.tensor(rows, dtype=torch.float).reshape(-1, n) for rows, n in ((detections, 6), (labels, 5))
    )
    level = iou_levels()[:1]
    correct = match_detections(detections, labels, level)
    regions = torch.tensor(ignored, dtype=torch.float).reshape(-1, 5)
    absent = in_ignored(detections, correct, regions, level)
    return image_errors(detections, labels, correct[:, 0], absent[:, 0])


def shares(*images):
    tally = ErrorTally()
    for image in images:
        tally.update(image)
    return tally.compute()


def area(final):
    """AP of the cats: recall 0.5 at precision 1, then from the ``final`` precision a line to 0; 0.01 apart."""
    return 0.49 + 0.01 * (1 + final) / 2 + 0.5 * final / 2


def test_one_error_of_each_kind():
    found = shares(judged(DETECTIONS, LABELS))

    kinds = ("class", "localisation", "both", "duplicate", "background", "missed")
    assert found.counts == dict.fromkeys(kinds, 1)
    assert found.shares() == pytest.approx(dict.fromkeys(kinds, 1 / 6))


def test_what_mending_a_kind_of_error_adds():
    """Two classes: of two cats one is found first of four, the only dog is not found; a perfect class has 0.995."""
    found = shares(judged(DETECTIONS, LABELS))

    now = area(1 / 4) / 2
    assert found.map50 == pytest.approx(now)
    assert found.costs == pytest.approx(
        {
            "class": (area(1 / 3) + 0.995) / 2 - now,  # the dog is found
            "localisation": area(1 / 3) / 2 - now,  # it would be another duplicate, and is left out
            "both": 0,  # of dogs, of which none is right
            "duplicate": area(1 / 3) / 2 - now,
            "background": 0,
            "missed": 0.995 / 2 - now,  # one cat is all that there is
        }
    )
    assert found.false_positives == pytest.approx(area(1) / 2 - now)
    assert found.false_negatives == pytest.approx(0.995 - now)  # no dog is left


def test_a_badly_placed_detection_of_a_label_without_another_is_found_once_mended():
    found = shares(judged([[*BESIDE, 0.6, CAT]], [[CAT, *FOUND]]))

    assert (found.map50, found.costs["localisation"]) == pytest.approx((0, 0.995))
    assert found.counts["missed"] == 0


def test_a_duplicate_that_is_also_on_a_label_of_another_class_is_a_duplicate():
    found = shares(judged(DETECTIONS[:2], [*LABELS, [DOG, *FOUND]]))

    assert (found.counts["duplicate"], found.counts["class"]) == (1, 0)


def test_doubtful_detections_are_not_counted_and_cover_no_label_but_cost():
    doubtful = [[*MISTAKEN, 0.1, CAT]]

    found = shares(judged(doubtful, [[DOG, *MISTAKEN]]))

    assert (found.counts["class"], found.counts["missed"]) == (0, 1)
    assert (found.costs["class"], found.costs["missed"]) == pytest.approx((0.995, 0))


def test_what_lies_in_a_region_is_no_error():
    found = shares(judged(DETECTIONS[-1:], [], ignored=[[DOG, 190, 190, 300, 300]]))

    assert sum(found.counts.values()) == 0


def test_nothing_found_nothing_labelled_no_image_at_all():
    assert shares().counts == shares(judged([], [])).counts == dict.fromkeys(shares().counts, 0)
    assert shares(judged([], LABELS)).counts["missed"] == 3
    assert shares(judged(DETECTIONS, [])).counts["background"] == 6
    assert set(shares().costs.values()) == {0.0}


def test_errors_of_several_images_add_up():
    image = judged(DETECTIONS, LABELS)

    one, three = shares(image), shares(image, judged([], []), image, image)

    assert three.counts == {kind: 3 * count for kind, count in one.counts.items()}
    assert three.costs["class"] == pytest.approx(one.costs["class"], abs=0.01)
