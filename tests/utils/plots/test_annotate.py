"""Boxes and labels lie where they belong, in colours that can be read."""

import numpy as np
import pytest

from utils.plots.annotate import MAX_SHARE, color_of, draw_boxes, fit_labels, line_width_for

GRAY = np.full((100, 200, 3), 120, dtype=np.uint8)
BLUE = (4, 42, 255)


def test_colours_repeat_after_the_twentieth_class():
    assert len(set(map(color_of, range(20)))) == 20
    assert color_of(20) == color_of(0)


@pytest.mark.parametrize(("height", "width", "expected"), [(480, 640, 2), (1080, 1920, 5), (10, 10, 2)])
def test_the_line_width_follows_the_image(height, width, expected):
    assert line_width_for(np.zeros((height, width, 3), np.uint8)) == expected


def test_the_image_given_stays_as_it_is():
    image = GRAY.copy()

    drawn = draw_boxes(image, np.array([[20, 30, 80, 90]]), ["star 0.9"], [BLUE])

    assert (image == GRAY).all()
    assert (drawn != image).any()


def test_a_box_without_text_is_only_its_outline():
    drawn = draw_boxes(GRAY, np.array([[50, 40, 150, 90]]), [""], [BLUE], line_width=2)

    assert drawn[40, 100].tolist() == list(BLUE)
    assert drawn[65, 50].tolist() == list(BLUE)
    assert (drawn[45:85, 55:145] == 120).all()
    assert (drawn[:35] == 120).all()


@pytest.mark.parametrize("text", ["cat", "круг"])
def test_a_label_stands_above_its_box_or_inside_at_the_top_edge(text):
    below = draw_boxes(GRAY, np.array([[50, 60, 150, 95]]), [text], [BLUE], line_width=2)
    at_top = draw_boxes(GRAY, np.array([[50, 1, 150, 95]]), [text], [BLUE], line_width=2)

    def blue(part):
        return (part == BLUE).all(axis=-1).mean()

    assert blue(below[42:58, 51:80]) > 0.3
    assert (below[:38] == 120).all()
    assert blue(at_top[3:20, 52:80]) > 0.3


def test_a_label_is_shifted_and_cut_to_stay_inside_the_image():
    drawn = draw_boxes(GRAY, np.array([[190, 60, 199, 90]]), ["person 0.99"], [BLUE], line_width=2)
    tiny = draw_boxes(GRAY[:8, :8], np.array([[0, 0, 7, 7]]), ["person 0.99"], [BLUE])

    assert (drawn[50, 140:] != 120).any(axis=-1).sum() > 40
    assert tiny.shape == (8, 8, 3)


@pytest.mark.parametrize("side", [16, 32, 64, 96, 128, 640])
def test_labels_never_cover_more_than_a_quarter_of_an_image(side):
    image = np.full((side, side, 3), 120, np.uint8)
    boxes = np.tile([[2, side // 2, side - 2, side - 2]], (3, 1))

    drawn = draw_boxes(image, boxes, ["person 0.87", "dog 0.71", "person 0.91"], [BLUE] * 3)

    outlines = draw_boxes(image, boxes, [""] * 3, [BLUE] * 3)
    assert (drawn != outlines).any(axis=-1).mean() <= MAX_SHARE
    assert (side >= 64) == (drawn != outlines).any(), "only a tiny image goes without labels"


def test_a_crowd_gets_small_labels_and_the_best_keep_theirs():
    few, size = fit_labels(["person 0.87"] * 3, (480, 640), 16)
    crowd, small = fit_labels(["person 0.87"] * 60, (480, 640), 16)
    mass, smallest = fit_labels([f"person 0.{k}" for k in range(100, 500)], (480, 640), 16)

    assert few == ["person 0.87"] * 3 and size == 16
    assert all(crowd) and 9 <= small < 16
    assert smallest == 9 and mass[-1] == "person 0.499" and mass[0] == ""
    kept = [bool(text) for text in mass]
    assert kept == sorted(kept), "the last are on top, and the best"


def test_letters_beyond_ascii_are_drawn_as_glyphs():
    first = draw_boxes(GRAY, np.array([[20, 60, 90, 90]]), ["круг"], [BLUE])
    second = draw_boxes(GRAY, np.array([[20, 60, 90, 90]]), ["ключ"], [BLUE])

    assert (first != second).any(), "both are question marks or blank signs"


def test_a_character_that_no_font_has_is_reported(caplog):
    draw_boxes(GRAY, np.array([[20, 60, 90, 90]]), ["\U0010fffc"], [BLUE])

    assert "no installed font shows" in caplog.text
