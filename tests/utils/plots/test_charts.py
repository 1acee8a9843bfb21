"""The charts of a run show their data, and never touch the global state of matplotlib."""

import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

from utils.errors import StorageError
from utils.loggers.row import headings
from utils.plots import confusion, curves, figure
from utils.plots.annotate import color_of
from utils.plots.confusion import plot_confusion_matrix
from utils.plots.curves import plot_confidence_curve, plot_pr_curve
from utils.plots.labels import plot_labels
from utils.plots.results import plot_results

HEADINGS = headings(("box", "obj", "cls"))
NAMES = {0: "cat", 1: "dog", 2: "eel"}
X = np.linspace(0, 1, 1000)
CURVES = np.stack([1 - X**2, 1 - X**3, 1 - X**4])


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, to look at their content."""
    figures = []

    class Recorded(figure.Figure):
        def savefig(self, *args, **keywords):
            figures.append(self)
            super().savefig(*args, **keywords)

    monkeypatch.setattr(figure, "Figure", Recorded)
    return figures


def legend(chart):
    return [text.get_text() for text in chart.legends[0].get_texts()]


def test_the_pr_curve_names_each_class_with_its_ap(tmp_path, drawn):
    plot_pr_curve(X, CURVES, np.array([0.5, 0.6, 0.7]), NAMES, tmp_path / "PR_curve.png")

    assert legend(drawn[0]) == ["cat  0.500", "dog  0.600", "eel  0.700", "all classes  0.600 mAP@0.5"]
    assert Image.open(tmp_path / "PR_curve.png").size == (1440, 960)


def test_the_best_confidence_is_named(tmp_path, drawn):
    peak = np.maximum(0, 1 - np.abs(X - 0.25) * 2)

    plot_confidence_curve(X, peak[None], "F1", {0: "cat"}, tmp_path / "F1_curve.png")

    assert legend(drawn[0])[-1] == "all classes  1.00 at 0.250"


def test_many_classes_share_one_line_of_the_legend(tmp_path, drawn):
    plot_confidence_curve(
        X, np.repeat(CURVES, 10, axis=0), "Recall", {i: str(i) for i in range(30)}, tmp_path / "R.png"
    )

    assert len(legend(drawn[0])) == 1
    assert len(drawn[0].axes[0].lines) == 30 + 1 + 1  # classes, mean, best point


def test_curves_of_no_class_at_all_are_drawn(tmp_path):
    nothing = np.zeros((0, 1000))

    plot_pr_curve(X, nothing, np.zeros(0), {}, tmp_path / "PR_curve.png")
    plot_confidence_curve(X, nothing, "F1", {}, tmp_path / "F1_curve.png")

    assert (tmp_path / "F1_curve.png").stat().st_size > 5000


def test_the_confusion_matrix_shows_counts_on_the_colour_of_their_share(tmp_path, drawn):
    matrix = np.array([[3, 0, 0], [1, 400, 0], [0, 1, 0]])

    plot_confusion_matrix(matrix, ["cat", "dog"], tmp_path / "confusion_matrix.png")

    axes = drawn[0].axes[0]
    assert [(t.get_position(), t.get_text(), t.get_color()) for t in axes.texts] == [
        ((0, 0), "3", "white"),  # three of four cats
        ((0, 1), "1", "black"),
        ((1, 1), "400", "white"),
        ((1, 2), "1", "black"),  # one dog in 401 was missed
    ]
    assert axes.images[0].get_array()[1, 0] == 0.25
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["cat", "dog", "background"]


def test_an_empty_chart_says_why(tmp_path, drawn):
    nothing = np.zeros((2, 1000))

    plot_pr_curve(X, nothing, np.zeros(2), {0: "cat", 1: "dog"}, tmp_path / "PR.png")
    plot_confidence_curve(X, nothing, "F1", {0: "cat", 1: "dog"}, tmp_path / "F1.png")
    plot_confidence_curve(X, nothing[:0], "F1", {}, tmp_path / "F1.png")
    plot_confusion_matrix(np.zeros((3, 3)), ["cat", "dog"], tmp_path / "confusion_matrix.png")
    plot_confusion_matrix(np.array([[0, 0, 0], [0, 0, 0], [2, 7, 0]]), ["cat", "dog"], tmp_path / "missed.png")
    plot_labels(np.zeros((0, 5)), NAMES, tmp_path / "labels.jpg")

    said = [
        [text.get_text() for axes in figure.axes for text in axes.texts if text.get_text() != "0"] for figure in drawn
    ]
    assert said == [
        *(["no correct detections"], ["no correct detections"], ["no labels"], ["no labels and no detections"]),
        ["no detections", "2", "7"],
        ["no labels"] * 3,
    ]


def test_counts_have_whole_numbers_on_their_axis(tmp_path, drawn):
    plot_labels(np.full((2, 5), 0.5), {0: "cat"}, tmp_path / "labels.jpg")

    assert drawn[0].axes[0].get_title() == "2 boxes, 1 class"
    assert all(tick == int(tick) for tick in drawn[0].axes[0].get_yticks())


def test_a_class_has_the_colour_of_its_boxes_in_the_curves(tmp_path, drawn):
    plot_pr_curve(X, CURVES[:2], np.ones(2), {4: "eel", 7: "fox"}, tmp_path / "PR.png")

    colors = [tuple(round(255 * part) for part in line.get_color()) for line in drawn[0].axes[0].lines[:2]]
    assert colors == [color_of(4), color_of(7)]


def test_a_large_confusion_matrix_has_no_figures_or_names(tmp_path, drawn):
    plot_confusion_matrix(np.eye(121), [str(i) for i in range(120)], tmp_path / "confusion_matrix.png")

    assert not drawn[0].axes[0].texts
    assert "119" not in [tick.get_text() for tick in drawn[0].axes[0].get_xticklabels()]


def test_results_are_drawn_in_the_reference_order(tmp_path, drawn):
    header = ",".join(f"{name:>20}" for name in HEADINGS)
    rows = [",".join(f"{value:20.5g}" for value in [epoch, *range(13)]) for epoch in range(4)]
    (tmp_path / "results.csv").write_text("\n".join([header, *rows, ""]))

    plot_results(tmp_path / "results.csv", tmp_path / "results.png")

    assert [axes.get_title() for axes in drawn[0].axes] == [HEADINGS[i] for i in (1, 2, 3, 4, 5, 8, 9, 10, 6, 7)]
    assert drawn[0].axes[5].lines[0].get_ydata().tolist() == [7, 7, 7, 7]


def test_a_single_epoch_has_whole_numbers_on_its_axis_and_no_negative_ones(tmp_path, drawn):
    header = ",".join(HEADINGS)
    (tmp_path / "results.csv").write_text(f"{header}\n0{',0' * 13}\n")

    plot_results(tmp_path / "results.csv", tmp_path / "results.png")

    chart = drawn[0].axes[0]
    low, high = chart.get_xlim()
    assert [tick for tick in chart.get_xticks() if low <= tick <= high] == [0]
    assert chart.get_ylim()[0] == 0


def test_epochs_without_validation_leave_a_gap(tmp_path, drawn):
    header = ",".join(HEADINGS)
    (tmp_path / "results.csv").write_text(f"{header}\n0{',nan' * 13}\n1{',2' * 13}\n")

    plot_results(tmp_path / "results.csv", tmp_path / "results.png")

    assert drawn[0].axes[0].lines[0].get_xdata().tolist() == [1]


@pytest.mark.parametrize("count", [0, 1, 200])
def test_labels_are_counted_by_class(tmp_path, drawn, count):
    rng = np.random.default_rng(0)
    labels = np.c_[np.arange(count) % 2, rng.uniform(0.2, 0.6, (count, 4))]

    plot_labels(labels, {0: "cat", 1: "dog", 2: "eel"}, tmp_path / "labels.jpg")

    assert [bar.get_height() for bar in drawn[0].axes[0].patches] == [(count + 1) // 2, count // 2, 0]
    assert [tick.get_text() for tick in drawn[0].axes[0].get_xticklabels()] == list(NAMES.values())


def test_drawing_leaves_matplotlib_as_it_was(tmp_path):
    before = dict(matplotlib.rcParams)

    plot_pr_curve(X, CURVES, np.ones(3), NAMES, tmp_path / "PR_curve.png")

    assert dict(matplotlib.rcParams) == before
    assert not any("pyplot" in name for module in (curves, confusion, figure) for name in vars(module))
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path, monkeypatch):
    def full(self, *args, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure.Figure, "savefig", full)
    with pytest.raises(StorageError, match="No space left"):
        plot_pr_curve(X, CURVES, np.ones(3), NAMES, tmp_path / "PR_curve.png")
    assert not list(tmp_path.iterdir())
