"""Every picture shows names as they are written, whatever a drawing library makes of such text, without a warning."""

import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from matplotlib.legend import Legend
from matplotlib.text import Text

from utils.plots import annotate, fonts
from utils.plots.annotate import MAX_LETTERS, draw_boxes
from utils.plots.batches import plot_batch, plot_detections
from utils.plots.confusion import plot_confusion_matrix
from utils.plots.curves import plot_confidence_curve, plot_pr_curve
from utils.plots.labels import plot_labels
from utils.plots.pareto import Candidate, plot_pareto
from utils.text import safe_text, shorten

NAMES = [
    *("cost $^$ 5", "$x$", "_hidden", "_", "", r"\frac{1}{2}", "50% off, a/b", "it's {0} %s"),
    *("[/red] <b>&amp;", "#f00", "\u05e9\u05dc\u05d5\u05dd", "\U0001f600", "\u732b", "a\nb", "\x1b[31m", "n" * 5000),
]
SHOWN = [shorten(name) for name in NAMES]
BY_ID = dict(enumerate(NAMES))
COUNT = len(NAMES)
X = np.linspace(0, 1, 50)
CURVES = np.stack([1 - X ** (k + 1) for k in range(COUNT)])


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def drawn(monkeypatch):
    """The texts that matplotlib was told to draw, and that none is taken for markup."""
    texts = []
    draw = Text.draw

    def recorded(self, renderer, *args, **keywords):
        assert not self.get_parse_math()
        assert not self.get_usetex()
        texts.append(self.get_text())
        return draw(self, renderer, *args, **keywords)

    monkeypatch.setattr(Text, "draw", recorded)
    return texts


def draw_curves(path):
    plot_confidence_curve(X, CURVES, "F1", BY_ID, path)


def draw_confusion(path):
    plot_confusion_matrix(np.eye(COUNT + 1), NAMES, path)


def draw_labels(path):
    rows = np.c_[np.arange(40) % COUNT, np.full((40, 4), 0.5)]
    plot_labels(rows, BY_ID, path)


def draw_pareto(path):
    plot_pareto([Candidate(name, 1.0 + i, 0.1 * (i % 7)) for i, name in enumerate(NAMES)], path, ["$ of a_b_\x1b"])


@pytest.mark.parametrize("draw", [draw_curves, draw_confusion, draw_labels, draw_pareto])
def test_a_chart_shows_every_name(tmp_path, drawn, draw):
    draw(tmp_path / "chart.png")

    assert not Counter(SHOWN) - Counter(drawn)


def test_the_pr_curve_shows_every_name_with_its_figure(tmp_path, drawn):
    plot_pr_curve(X, CURVES, np.full(COUNT, 0.5), BY_ID, tmp_path / "PR.png")

    assert {f"{name}  0.500" for name in SHOWN} == {text for text in drawn if text.endswith("  0.500")}


def test_lines_and_names_of_the_legend_belong_together(tmp_path, monkeypatch):
    legends = []
    draw = Legend.draw
    monkeypatch.setattr(Legend, "draw", lambda self, renderer: legends.append(self) or draw(self, renderer))

    plot_confidence_curve(X, CURVES[:3], "F1", {0: "_a", 1: "", 2: "c"}, tmp_path / "F1.png")

    texts = [text.get_text() for text in legends[-1].get_texts()]
    colors = [line.get_color() for line in legends[-1].get_lines()]
    assert texts[:3] == ["_a", "", "c"]
    assert len(set(map(str, colors))) == 4


def test_names_that_are_alike_are_told_apart_where_they_are_drawn(tmp_path, drawn, monkeypatch):
    boxes = []
    monkeypatch.setattr("utils.plots.batches.draw_boxes", lambda image, b, t, *_, **__: boxes.append(t) or image.copy())
    images, names = torch.zeros(1, 3, 64, 64, dtype=torch.uint8), {0: "cat", 1: "cat"}

    plot_labels(np.full((2, 5), 0.5), names, tmp_path / "labels.png")
    plot_batch(images, torch.tensor([[0, 1, 0.5, 0.5, 0.5, 0.5]]), tmp_path / "b.png", paths=["a"], names=names)
    found = [torch.tensor([[1.0, 1, 9, 9, 0.9, 0]])]
    plot_detections(images, found, tmp_path / "b.png", paths=["a"], names=names)

    assert {"cat (0)", "cat (1)"} <= set(drawn)
    assert boxes == [["cat (1)"], ["cat (0) 0.9"]]


@pytest.mark.parametrize("name", NAMES)
def test_a_box_has_its_name_beside_it_in_one_line(monkeypatch, name):
    seen = []
    image = annotate.text_image
    monkeypatch.setattr(annotate, "text_image", lambda text, *args: seen.append(text) or image(text, *args))

    picture = draw_boxes(np.zeros((64, 200, 3), np.uint8), np.array([[5, 40, 50, 60]]), [name], [(255, 0, 0)])

    assert seen == ([safe_text(name)[:MAX_LETTERS]] if name else [])
    above = picture[:38].any(axis=(1, 2))
    assert above.sum() <= 30, "one line"
    assert bool(name) == above.any()


def test_a_character_that_no_font_has_is_named_once_in_the_log(tmp_path, monkeypatch, caplog):
    fonts._named.cache_clear()
    rare = "\U0010fffd"  # for private use: no font has it

    for _ in range(2):
        plot_confusion_matrix(np.eye(2), [rare], tmp_path / "chart.png")
        draw_boxes(np.zeros((64, 64, 3), np.uint8), np.array([[5, 40, 50, 60]]), [rare], [(255, 0, 0)])

    assert caplog.text.count("no installed font shows") == 1
