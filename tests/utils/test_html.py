"""A page shows every text as it is, asks nobody for anything, and carries its pictures."""

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from utils.html import data_uri, escape, page, picture, table

HOSTILE = "\"><script>alert('x')</script>&amp;\n\x1b[31m\u202e</style>"


class Reader(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.values, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.values += [value or "" for _, value in attributes]

    def handle_data(self, data):
        self.text += data


def test_a_hostile_text_is_shown_and_makes_no_tag():
    shown = Reader(f'<p title="{escape(HOSTILE)}">{escape(HOSTILE)}</p>')

    assert shown.tags == ["p"]
    assert shown.text == shown.values[0] == "\"><script>alert('x')</script>&amp;\\n\\x1b[31m\\u202e</style>"


def test_a_page_has_no_script_and_nothing_that_a_browser_would_fetch():
    text = page(HOSTILE, table([HOSTILE], [[HOSTILE], [3], [2.5]]) + picture(np.zeros((4, 6, 3), np.uint8), HOSTILE))
    shown = Reader(text)

    assert not {"script", "iframe", "object", "embed", "base", "form"} & set(shown.tags)
    assert shown.tags.count("link") == shown.tags.count("img") == 1
    assert not re.search(r"https?:|//|@import|url\(|\son\w+=", re.sub(r"base64,[\w+/=]+", "", text))


def test_a_picture_is_the_image_that_was_given():
    image = np.full((20, 30, 3), (200, 40, 90), np.uint8)

    uri = Reader(picture(image, "a")).values[0]
    found = cv2.imdecode(np.frombuffer(base64.b64decode(uri.partition("base64,")[2]), np.uint8), cv2.IMREAD_COLOR)

    assert found.shape == image.shape
    assert np.abs(found[..., ::-1].astype(int) - image).max() <= 6


def test_a_file_is_carried_as_it_is():
    assert data_uri(b"\x00abc", "image/png") == "data:image/png;base64,AGFiYw=="


@pytest.mark.parametrize(("value", "cell"), [("a<b", "<td>a&lt;b</td>"), (12, "<td class=number>12</td>")])
def test_numbers_of_a_table_stand_at_the_right(value, cell):
    assert cell in table(["x"], [[value]])
