"""Text from outside stays on one line and steers nothing; names that are alike are told apart."""

import itertools

import pytest

from utils.text import (
    counted,
    csv_cell,
    distinct,
    distinct_names,
    duration,
    fit_right,
    markdown_cell,
    one_line,
    rough_duration,
    safe_lines,
    safe_text,
    shorten,
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cat",
        "cost $^$ 5",
        r"a\b",
        "50% {x} [/] <b>",
        "naïve",
        "猫",
        "שלום",
        "\U0001f600",
        "\U0001f469\u200d\U0001f680",
        "e\u0301",
        "a\u00a0b",
    ],
)
def test_what_steers_nothing_is_shown_as_it_is_written(text):
    assert safe_text(text) == text


@pytest.mark.parametrize(
    ("char", "shown"),
    [
        *((chr(code), f"\\x{code:02x}") for code in (0, 7, 8, 27, 127, 0x85, 0x9B)),
        *(("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"), ("\x0b", "\\x0b")),
        *((chr(code), f"\\u{code:04x}") for code in (0x61C, 0x200E, 0x200F, 0x2028, 0x2029, 0x200B, 0xFEFF)),
        *((chr(code), f"\\u{code:04x}") for code in [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]),
        ("\udcff", "\\udcff"),  # a byte of a file name that is not UTF-8
    ],
)
def test_what_would_steer_a_terminal_is_escaped(char, shown):
    assert safe_text(f"a{char}b") == f"a{shown}b"
    assert safe_lines(f"a{char}b\nc") == (f"a{shown}b\nc" if char != "\n" else "a\nb\nc")


def test_a_long_text_is_cut_in_its_middle():
    assert shorten("a" * 40) == "a" * 40
    assert shorten("a" * 30 + "b" * 30, 10) == "aaaaaa…bbb"
    assert shorten("\n" * 60, 9) == r"\n\n\…n\n"


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"])
def test_a_spreadsheet_runs_no_cell(start):
    assert csv_cell(start) == "'" + safe_text(start)


def test_other_cells_are_as_they_are_written():
    assert [csv_cell(text) for text in ("cat", "", "a=1", "'=1", "1-2")] == ["cat", "", "a=1", "'=1", "1-2"]


def test_nothing_in_a_cell_of_markdown_is_markup():
    assert markdown_cell("a|b<img src=x>*c*`d`[e](f)\\") == r"a\|b\<img src=x>\*c\*\`d\`\[e](f)" + "\\\\"
    assert markdown_cell("_a_.py:f") == r"\_a\_.py:f"
    assert markdown_cell("repvit_m0_9\n") == r"repvit_m0_9\\n"


def test_names_that_are_alike_are_told_apart_by_their_ids():
    assert distinct_names({0: "cat", 1: "dog", 2: "cat"}) == {0: "cat (0)", 1: "dog", 2: "cat (2)"}
    assert distinct_names(distinct_names({0: "a", 1: "a"})) == {0: "a (0)", 1: "a (1)"}
    tricky = distinct_names({0: "cat", 1: "cat", 2: "cat (0)", 3: "cat (0) (2)"})
    assert len(set(tricky.values())) == 4


def test_distinct_is_distinct_whatever_the_candidates_and_their_order():
    """All sets of three keys with a first candidate of two and a second of three that differ."""
    for firsts in itertools.product("ab", repeat=3):
        for lasts in itertools.permutations(("a", "b", "c", "d"), 3):
            candidates = dict(zip("xyz", zip(firsts, lasts, strict=True), strict=True))
            found = distinct(candidates)
            assert len(set(found.values())) == 3, candidates
            assert distinct(dict(reversed(candidates.items()))) == found


@pytest.mark.parametrize(
    ("count", "what", "shown"),
    [
        *((1, "epoch", "1 epoch"), (0, "epoch", "0 epochs"), (2, "background", "2 backgrounds")),
        *((2, "box", "2 boxes"), (3, "class", "3 classes"), (2, "batch", "2 batches"), (2, "bus", "2 buses")),
        *((1, "bus", "1 bus"), (2, "brush", "2 brushes"), (1, "file", "1 file"), (2, "", "2 s")),
    ],
)
def test_counts_agree_with_their_nouns(count, what, shown):
    assert counted(count, what) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (725, "12 min 5 s"),
        (3600, "1 h 0 min"),
        (100_000, "27 h 46 min"),
    ],
)
def test_times_are_shown_as_one_reads_them(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "10 s"), (44, "40 s"), (89, "90 s"), (90, "2 min"), (725, "12 min"), (5969, "99 min"), (6000, "1 h 40 min")],
)
def test_an_estimate_is_no_finer_than_it_can_be_known(seconds, shown):
    assert rough_duration(seconds) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat", "       cat"),
        ("\u732b", "        \u732b"),  # two columns wide
        ("e\u0301", "         e\u0301"),  # one, of two characters
        ("0123456789abc", "012345\u2026abc"),
        ("\u732b" * 9, " \u732b\u732b\u732b\u2026\u732b"),
        ("a\tb", "      a\\tb"),
    ],
)
def test_a_name_fills_its_column_and_no_more(text, shown):
    assert fit_right(text, 10) == shown


def test_a_message_of_several_lines_becomes_one_and_is_cut():
    error = ValueError("\n  first line,\tthen\r\n\n  the second \n")

    assert one_line(error) == "first line, then the second"
    assert one_line(error, 10) == "first line"
    assert one_line(ValueError()) == ""
