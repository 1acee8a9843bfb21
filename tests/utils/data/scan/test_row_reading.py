"""Rows that could be boxes as well as a polygon are reported, and polygons as people draw them are read."""

import numpy as np
import pytest

from utils.data.scan.label_file import parse_labels
from utils.data.scan.row_reading import boxes_after_class, joined_rows


def parse(row):
    return parse_labels(row, nc=80, shape=(96, 96))


@pytest.mark.parametrize(
    ("row", "reading"),
    [
        ("0 0.5 0.5 0.2 0.2 1 0.1 0.1 0.1 0.1 1 0.3 0.3 0.1 0.1", "3 boxes in one line"),
        ("0 0.5 0.5 0.2 0.2 1 0.1 0.1 0.1 0.1", "2 boxes in one line"),
        ("7 0.5 0.5 0.2 0.2 41 0.1 0.1 0.1 0.1 7 0.3 0.3 0.1 0.1", "3 boxes in one line"),
        ("0 0.5 0.5 0.2 0.2 0.1 0.1 0.1 0.1 0.3 0.3 0.1 0.1", "3 boxes after one class"),
        ("2 0.5 0.5 0.2 0.3 0.2 0.7 0.1 0.15 0.8 0.2 0.25 0.3", "3 boxes after one class"),
        ("0 0.5 0.5 0.2 0.2 0.1 0.1 0.1 0.1", "2 boxes after one class"),
        ("0 0.3 0.6 0.1 0.1 0.7 0.6 0.1 0.2", "2 boxes after one class"),
        ("0 " + "0.5 0.5 0.1 0.1 " * 300, "300 boxes after one class"),
        ("0 0.5 0.5 0.4 0.4 0.4 0.4 1 0.6 0.4 0 0.4 0.6 1 0.6 0.6 1", "a box with 4 keypoints"),
        ("0 0.5 0.5 0.4 0.4 " + "0.4 0.4 2 " * 17, "a box with 17 keypoints"),
    ],
)
def test_a_row_that_could_be_boxes_is_reported_with_its_line(row, reading):
    rows = parse(f"0 0.5 0.5 0.2 0.2\n{row}\n")

    assert len(rows.boxes) == 1
    assert rows.bad_rows == [
        (2, f"{len(row.split())} columns look like {reading}, not a polygon; write one object per line")
    ]


@pytest.mark.parametrize(
    "polygon",
    [
        "0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9",  # a rectangle
        "0.4 0.4 0.5 0.4 0.5 0.5 0.4 0.5",
        "0.5 0.2 0.6 0.5 0.5 0.8 0.4 0.5",  # a diamond
        "0.2 0.2 0.4 0.2 0.3 0.4",  # a triangle
        "0.2 0.2 0.6 0.2 0.6 0.3 0.3 0.3 0.3 0.6 0.2 0.6",  # an L
        "0 0 0.5 0 1 0 1 0.5 1 1 0.5 1 0 1",  # seven points on the border, ids in the places of classes
    ],
)
def test_polygons_are_read_from_every_point_on_in_both_directions(polygon):
    points = np.array(polygon.split()).reshape(-1, 2)
    for turn in range(len(points)):
        for direction in (1, -1):
            row = " ".join(np.roll(points, turn, axis=0)[::direction].ravel())

            rows = parse(f"0 {row}")

            assert len(rows.boxes) == 1, (row, rows.bad_rows)


def outline(rng, points, kind):
    """Return a polygon (n, 2) somewhere in the image: convex, a blob, or a star of uneven spikes."""
    if kind == "convex":
        angle, radius = np.sort(rng.uniform(0, 2 * np.pi, points)), np.ones(points)
    else:
        angle = np.linspace(0, 2 * np.pi, points, endpoint=False) + rng.uniform(0, 7)
        waves = [rng.normal() * 0.2 / k * np.cos(k * angle + rng.uniform(0, 7)) for k in range(1, 6)]
        radius = np.abs(1 + np.sum(waves, 0)) + 0.1 if kind == "blob" else np.where(np.arange(points) % 2, 0.6, 1)
    shape = np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None]
    shape = (shape - shape.min(0)) / np.ptp(shape, axis=0)
    size = 10 ** rng.uniform(-1.5, 0, 2)
    return shape * size + rng.uniform(0, 1, 2) * (1 - size)


@pytest.mark.parametrize("kind", ["convex", "blob", "star"])
@pytest.mark.parametrize("clipped", [False, True])
def test_no_outline_is_taken_for_boxes(kind, clipped):
    rng = np.random.default_rng(0)
    for _ in range(1000):
        polygon = outline(rng, int(rng.integers(2, 15)) * 2, kind)
        if clipped:
            polygon = np.clip(polygon + rng.uniform(-0.2, 0.2, 2), 0, 1)
        text = [f"{value:g}" for value in polygon.ravel().tolist()]

        assert not boxes_after_class(polygon.ravel().tolist()), text
        assert not joined_rows(["0", *text]), text


@pytest.mark.parametrize(("count", "least"), [(2, 0.9), (3, 0.98), (6, 0.999)])
def test_nearly_all_boxes_of_common_sizes_are_recognised(count, least):
    rng = np.random.default_rng(0)
    recognised = []
    for _ in range(1000):
        size = rng.uniform(0.03, 0.2, (count, 2))
        centre = size / 2 + rng.uniform(0, 1, (count, 2)) * (1 - size)
        recognised.append(boxes_after_class(np.concatenate([centre, size], 1).ravel().tolist()) == count)

    assert np.mean(recognised) >= least


def test_a_polygon_that_is_taken_for_boxes_is_read_when_it_is_closed():
    row = "0 0.3 0.6 0.1 0.1 0.7 0.6 0.1 0.2"

    assert parse(row).bad_rows
    assert len(parse(f"{row} 0.3 0.6").boxes) == 1
