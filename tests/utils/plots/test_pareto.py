"""The Pareto chart: who is on the front, and names that can be read."""

from itertools import combinations

from utils.plots import figure
from utils.plots.pareto import Candidate, pareto_front, plot_pareto

FIELD = [
    Candidate("slow", 9.0, 0.4),
    Candidate("fast", 2.0, 0.2),
    Candidate("beaten", 5.0, 0.2),
    Candidate("mid", 5.0, 0.3),
]


def test_the_front_is_what_nothing_beats_in_both():
    assert [c.name for c in pareto_front(FIELD)] == ["fast", "mid", "slow"]


def test_an_equal_is_not_listed_twice():
    assert [c.name for c in pareto_front([Candidate("a", 1.0, 0.5), Candidate("b", 1.0, 0.5)])] == ["a"]


def test_names_of_close_points_do_not_cover_each_other(tmp_path, monkeypatch):
    drawn = []

    class Recorded(figure.Figure):
        def savefig(self, *args, **keywords):
            drawn.append(self)
            super().savefig(*args, **keywords)

    monkeypatch.setattr(figure, "Figure", Recorded)
    close = [Candidate(f"timm/backbone_{i}", 7.0 + i / 50, 0.25 + i / 1000) for i in range(3)]

    plot_pareto([*FIELD, *close], tmp_path / "pareto.png", ["CPU: abacus"])

    chart = drawn[0].axes[0]
    boxes = {text.get_text(): text.get_window_extent() for text in chart.texts}
    assert set(boxes) == {c.name for c in [*FIELD, *close]}
    assert not [pair for pair in combinations(boxes, 2) if boxes[pair[0]].overlaps(boxes[pair[1]])]
    assert (tmp_path / "pareto.png").is_file()
