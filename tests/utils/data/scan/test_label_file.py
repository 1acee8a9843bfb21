"""One label file: boxes, polygons, what is repaired, and why a row is left out."""

import numpy as np
import pytest

from utils.data.scan.label_file import parse_labels


def parse(text, nc=2):
    return parse_labels(text, nc, (96, 128))


def test_box_rows_are_read_as_written():
    rows = parse("0 0.5 0.25 0.1 0.2\n1 0.1 0.2 0.05 0.0625\n")

    assert rows.boxes == [(0, 0.5, 0.25, 0.1, 0.2), (1, 0.1, 0.2, 0.05, 0.0625)]
    assert [len(polygon) for polygon in rows.polygons] == [0, 0]
    assert not rows.bad_rows


def test_a_polygon_becomes_the_box_around_it():
    rows = parse("1 0.2 0.4 0.6 0.4 0.6 0.9 0.3 0.5")

    (box,) = rows.boxes
    assert box == pytest.approx((1, 0.4, 0.65, 0.4, 0.5))
    np.testing.assert_allclose(rows.polygons[0], [[0.2, 0.4], [0.6, 0.4], [0.6, 0.9], [0.3, 0.5]], rtol=1e-6)


def test_a_box_row_among_polygons_stays_a_box():
    rows = parse("0 0.1 0.1 0.3 0.1 0.3 0.3\n1 0.5 0.5 0.2 0.2\n")

    assert rows.boxes[0] == pytest.approx((0, 0.2, 0.2, 0.2, 0.2))
    assert rows.boxes[1] == (1, 0.5, 0.5, 0.2, 0.2)
    assert [len(polygon) for polygon in rows.polygons] == [3, 0]


def test_carriage_returns_tabs_and_blank_lines_do_not_matter():
    rows = parse("\r\n0\t0.5\t0.5\t0.1\t0.1\r\n  \r\n1 0.5 0.5 0.2 0.2\r\n")

    assert [box[0] for box in rows.boxes] == [0, 1]


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n\r", "\x0c", "\v", "\x85", "\u2028", "\u2029"])
def test_whatever_ends_a_line_ends_a_row(end):
    rows = parse(end.join(["0 0.5 0.5 0.2 0.2", "1 0.1 0.1 0.1 0.1", "1 0.3 0.3 0.1 0.1"]) + end)

    assert [box[:2] for box in rows.boxes] == [(0, 0.5), (1, 0.1), (1, 0.3)]
    assert not rows.bad_rows


def test_rounding_errors_are_clipped_and_counted():
    rows = parse("0 0.5 -0.0001 1.0000002 0.2\n1 0.5 0.5 0.1 0.1")

    assert rows.boxes[0] == (0, 0.5, 0.0, 1.0, 0.2)
    assert rows.rounded == 1
    assert not rows.bad_rows


def test_a_box_that_reaches_outside_is_kept_as_written():
    assert parse("0 0.05 0.5 0.2 0.2").boxes == [(0, 0.05, 0.5, 0.2, 0.2)]


def test_repeated_rows_are_kept_once_in_their_order():
    rows = parse("1 0.5 0.5 0.2 0.2\n0 0.1 0.1 0.1 0.1\n1 0.50 0.5 0.2 0.2\n")

    assert [box[0] for box in rows.boxes] == [1, 0]
    assert rows.duplicates == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("0 0.5 0.5 0.1", "4 columns, expected 5"),
        ("0 0.5 0.5 0.1 0.1 0.9", "prediction with its confidence"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "come in pairs"),
        ("0,0.5,0.5,0.1,0.1", "spaces, not commas"),
        ("0 0,5 0,5 0,1 0,1", "'0,5' is not a number; write a decimal point"),
        ("cat 0.5 0.5 0.1 0.1", "class 'cat' is not a number"),
        ("0.5 0.5 0.5 0.1 0.1", "class '0.5' is not a whole number"),
        ("nan 0.5 0.5 0.1 0.1", "class 'nan' is not a whole number"),
        ("0 nan 0.5 0.1 0.1", "'nan' is not a finite number"),
        ("0 0.5 inf 0.1 0.1", "'inf' is not a finite number"),
        ("0 0.5 0.5 0 0.1", "width 0 and height 0.1 has no area"),
        ("0 0.5 0.5 0.1 -0.2", "coordinate '-0.2' is outside 0–1"),
        ("0 48 50 20 10", "looks like pixels: divide by 128×96 or per cent: divide by 100"),
        ("0 48 50 120 10", "'48' is outside 0–1; looks like pixels: divide by 128×96"),
        ("0 45.3 50 129 10", "'45.3' is outside 0–1"),
        ("0 0.1 0.5 0.2 0.5 0.3 0.5", "no area"),
        ("1_0 0.5 0.5 0.1 0.1", "class '1_0' is not a number"),
        ("0 0.5 0.5 0.1_5 0.1", "'0.1_5' is not a number"),
        ("0 0.5 0.5 0.1\x00 0.1", r"'0.1\x00' is not a number"),
        ("\ufeff0 0.5 0.5 0.1 0.1", r"class '\ufeff0' is not a number"),
    ],
)
def test_a_bad_row_is_reported_with_its_line_and_the_others_stay(row, reason):
    rows = parse(f"1 0.5 0.5 0.2 0.2\n\n{row}\n0 0.4 0.4 0.1 0.1\n")

    assert [box[0] for box in rows.boxes] == [1, 0]
    (problem,) = rows.bad_rows
    assert problem.line == 3
    assert reason in problem.message


@pytest.mark.parametrize("class_id", ["2", "-1", "99999999999999999999"])
def test_a_class_outside_the_range_is_reported_as_written(class_id):
    rows = parse(f"{class_id} 0.5 0.5 0.1 0.1")

    (problem,) = rows.bad_classes
    assert problem == (1, f"class {class_id}, but the data-set YAML has 2 classes (0-1)")
    assert not rows.boxes


def test_class_ids_written_as_floats_are_accepted():
    assert parse("1.0 0.5 0.5 0.1 0.1").boxes[0][0] == 1


def test_a_message_never_quotes_a_long_value():
    (problem,) = parse("root:x:0:0:secret-secret-secret-secret 1 2 3 4").bad_rows

    assert "root:x:0:0:secret" in problem.message
    assert "secret-secret" not in problem.message
