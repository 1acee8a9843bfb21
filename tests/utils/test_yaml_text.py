"""A value of a YAML file is what was written: names and paths are text, numbers are decimal, nothing is a date."""

import pytest

from utils.errors import ConfigError
from utils.yaml_file import parse_yaml, read_yaml, write_yaml

WRITTEN = (
    *("02146", "1_0", "0x1F", "12:30:45", "3.10", "1e3", "007", "1.0", "+1", "0b11", ".5", ".inf", ".nan", "1_000.5"),
    *("no", "yes", "on", "Off", "y", "true", "FALSE", "null", "~", "NULL", "=", "<<", "2001-01-01", "2001-99-99"),
)


@pytest.mark.parametrize("layout", ["flow list", "block list", "mapping", "flow mapping"])
def test_text_keys_keep_what_was_written(layout):
    text = {
        "flow list": f"names: [{', '.join(WRITTEN)}]",
        "block list": "names:\n" + "".join(f"  - {word}\n" for word in WRITTEN),
        "mapping": "names:\n" + "".join(f"  {index}: {word}\n" for index, word in enumerate(WRITTEN)),
        "flow mapping": "names: {" + ", ".join(f"{index}: {word}" for index, word in enumerate(WRITTEN)) + "}",
    }[layout]

    names = parse_yaml(text, "f", text_keys=("names",))["names"]

    assert tuple(names.values() if isinstance(names, dict) else names) == WRITTEN


def test_what_is_empty_is_no_text_and_a_null_alone_is_no_value():
    data = parse_yaml(
        "names:\n  0:\n  1: ''\n  2: 7\npath: ~\ntest: null\nval:\n", "f", ("names", "path", "test", "val")
    )

    assert data == {"names": {0: None, 1: "", 2: "7"}, "path": None, "test": None, "val": None}


def test_an_alias_and_a_merge_give_text_without_changing_the_other_place():
    text = "nc: &n 2\nbase: &b {names: [007, *n]}\n<<: *b\n"

    assert parse_yaml(text, "f", ("names",)) == {"nc": 2, "base": {"names": [7, 2]}, "names": ["007", "2"]}


def test_elsewhere_numbers_are_decimal_and_times_and_dates_are_text():
    data = parse_yaml("[010, 08, -007, 0x1F, 0b11, 1_000, 12:30, 1:30.5, 2001-12-14, 2001-99-99]", "f")

    assert data == [10, 8, -7, 31, 3, 1000, "12:30", "1:30.5", "2001-12-14", "2001-99-99"]


@pytest.mark.parametrize(
    ("text", "place", "fix"),
    [
        ('train: "images\\data"', "f:1:16: found unknown escape character 'd'", "single quotes"),
        ("a: 1\nb: \0", "f:2: character U+0000 is no text", "remove"),
        ('a: 1\nb: "\\ud800"', "f:2: half a character", "escape"),
        (f"nc: {'9' * 5000}", "f:1:5: a number of 5000 digits", "correct"),
    ],
)
def test_what_is_no_text_or_no_number_is_named_with_its_line(text, place, fix):
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f")

    assert caught.value.what == place
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("text", "place", "fix"),
    [
        ("names:\n\t0: cat\n", "f:2:1: a tab", "use spaces"),
        ("path:\tpets\n", "f:1:6: a tab", "use spaces"),
        ("backbone:\n  [[-1, 1, Conv, [64, 6, 2, 2]],\n\t]\n", "f:3:1: a tab", "use spaces"),
        ("nc:80\nnames: [a]\n", "f:2:6: ", "in line 1 put a space behind the colon: nc: 80"),
        ("a: 1\n# b\nnc:80\n\n# c\nnames: [a]\n", "f:5:1: ", "in line 3 put a space behind the colon: nc: 80"),
        ("nc:80\n# c\n\nnames: [a]\n", "f:4:1: ", "in line 1 put a space behind the colon: nc: 80"),
        ("names:\n  0: a\n  1:b\n", "f:4:1: ", "in line 3 put a space behind the colon: 1: b"),
        ("lr0:0.01\nlrf:0.1\n", "f:1: no key", "put a space behind the colon: lr0: 0.01"),
        ("nc：80\nnames: [a]\n", "f:2:6: ", "in line 1 put a space behind the colon: nc: 80"),
        ("nc = 80\nnames: [a]\n", "f:2:6: ", "write line 1 as 'key: value'"),
        ("names:\n  - cat\n  -dog\n", "f:4:1: ", "write line 3 as 'key: value', or as '- entry'"),
        ("names:\n  0: cat: big\n", "f:2:9: ", "put the value in quotes: it has a colon in it"),
        ("path: a\n  train: b\n", "f:2:8: ", "begin it in the same column as line 1"),
        ("names:\n  0: a\n 1: b\n", "f:3:2: ", "begin all lines of one list or mapping in the same column"),
        ("  path: a\ntrain: b\n", "f:2:1: ", "begin all lines of one list or mapping in the same column"),
        ("names:\n\u00a0\u00a00: a\n", "f:2:1: a space that YAML takes for a letter, U+00A0", "plain spaces"),
        ("nc: 1\nnc: 2\n", "f:2:1: key 'nc' stands twice (first in line 1)", "remove one of the two"),
        ("names: [a, b\nnc: 2\n", "f:2:3: ", "the closing bracket"),
        ("names: ['a' 'b']\n", "f:1:13: ", "commas between its entries"),
        ("names: ['driver's, b]\n", "f:1:17: ", "quotes around a text that has a quote"),
        ("names: [a, #b]\n", "f:2:1: ", "or # in it"),
        ("names:\n  0: 'a\n  1: b\n", "f:4:1: ", "close the quote that opens in line 2"),
        ("names:\n  0: @home\n", "f:2:6: ", "put the value in quotes"),
        ("train: *.jpg\n", "f:1:9: ", "put the value in quotes: * and &"),
        ("train: *all\n", "f:1:8: ", "put the value in quotes: * and &"),
        ("a: 1\n---\nb: 2\n", "f:2:1: ", "remove the line ---"),
        ("a: 1\nhttp://x.org\n", "f:3:1: ", "correct the YAML there"),
    ],
)
def test_a_usual_slip_is_told_with_its_line_and_what_to_do(text, place, fix):
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f")

    assert caught.value.what.startswith(place)
    assert fix in caught.value.fix


def test_a_text_that_only_looks_like_a_slip_is_read():
    text = (
        "train: C:\\data\ndownload: http://a.org/b:c\nnames: {0: 'cat:big', 1: \"a\\tb\", 2: a:b}\n' k': |\n  a\tb:c\n"
    )

    assert parse_yaml(text, "f") == {
        "train": "C:\\data",
        "download": "http://a.org/b:c",
        "names": {0: "cat:big", 1: "a\tb", 2: "a:b"},
        " k": "a\tb:c\n",
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a: 1\nb: café\n".encode("latin-1"), r":2: not UTF-8 text \(byte 0xe9\)"),
        ("a: café\n".encode("utf-16"), r":1: not UTF-8 text \(looks like UTF-16\)"),
        ("a: 1\n".encode("utf-16-le"), r":1: character U\+0000 is no text"),
    ],
)
def test_another_encoding_is_one_sentence_with_the_line(tmp_path, content, reason):
    (tmp_path / "x.yaml").write_bytes(content)

    with pytest.raises(ConfigError, match=reason) as caught:
        read_yaml(tmp_path / "x.yaml")
    assert caught.value.fix


def test_what_is_written_is_read_back_as_it_was(tmp_path):
    texts = [
        "1e3",
        "-2E5",
        "08",
        "+7",
        "1_0",
        "12:30",
        "0x1f",
        "no",
        "~",
        "",
        "\x85n",
        "a\u2028b",
        " a ",
        "猫 # : {}",
        "\r\n",
    ]
    data = {"texts": texts, "names": dict(enumerate(texts)), "1e3": 8, "numbers": [8, 1e3, 1e-05, -2.5, None, True]}

    write_yaml(tmp_path / "x.yaml", data)

    assert read_yaml(tmp_path / "x.yaml") == data
