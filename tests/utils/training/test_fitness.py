"""--fitness: which figure decides on best.pt and early stopping."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_detector import write_tiny_project

import train
from utils.checkpoint.load import load_checkpoint
from utils.errors import ConfigError
from utils.metrics.average_precision import MetricsResult
from utils.training import loop
from utils.training.fitness import check_fitness, fitness_of

NAMES = {0: "cat", 1: "dog", 2: "eel"}
SETTINGS = {"cfg": "tiny.yaml", "data": "pets.yaml", "imgsz": 64, "batch_size": 2, "workers": 0, "plots": False}
SETTINGS |= {"device": "cpu"}


def result(ap50, ap, p=(0.5, 0.5), r=(0.5, 0.5), f1=(0.5, 0.5), class_ids=(0, 2)):
    """Metrics of two classes; their APs at the nine higher levels are all ``ap``."""
    levels = np.stack([np.full(10, value) for value in ap])
    levels[:, 0] = ap50
    curve = np.zeros((2, 1000))
    arrays = [np.array(values, float) for values in (p, r, f1)]
    return MetricsResult(
        np.array(class_ids), np.array([3, 1]), levels, *arrays, np.zeros(1000), curve, curve, curve, curve
    )


METRICS = result(ap50=(0.8, 0.4), ap=(0.3, 0.2), r=(0.9, 0.1), f1=(0.6, 0.2))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("map50", 0.6),  # (0.8 + 0.4) / 2
        ("map", 0.285),  # ((0.8 + 9 · 0.3) / 10 + (0.4 + 9 · 0.2) / 10) / 2
        ("default", 0.3165),  # 0.1 · 0.6 + 0.9 · 0.285
        ("recall", 0.5),
        ("f1", 0.4),
        ("class:cat", 0.35),  # (0.8 + 9 · 0.3) / 10
        ("class:E_el", 0.22),  # (0.4 + 9 · 0.2) / 10
    ],
)
def test_a_figure_is_taken_from_the_validation(choice, expected):
    assert fitness_of(choice, METRICS, NAMES) == pytest.approx(expected)


def test_a_class_of_a_name_that_several_have_is_told_by_its_number():
    names = {0: "cat", 1: "dog", 2: "cat"}

    assert fitness_of("class:cat (2)", METRICS, names) == pytest.approx(0.22)
    with pytest.raises(ConfigError, match="no such class"):
        check_fitness("class:cat", names, [])


@pytest.mark.parametrize(
    ("choice", "what", "fix"),
    [
        ("mAP", "--fitness mAP: not a figure", "choose default, map, map50, recall, f1 or class:NAME"),
        ("class:cow", "--fitness class:cow: the data set has no such class", "the classes are cat, dog, eel"),
        ("class:dogs", "no such class", "did you mean class:dog?"),
        ("class:dog", "--fitness class:dog: no validation image shows", "choose another figure"),
    ],
)
def test_a_wrong_choice_is_one_sentence(choice, what, fix):
    labels = [np.array([[0, 0.5, 0.5, 0.1, 0.1]]), np.zeros((0, 5))]

    with pytest.raises(ConfigError, match=what) as error:
        check_fitness(choice, NAMES, labels)
    assert error.value.fix == fix


@pytest.fixture
def validations(tmp_path, monkeypatch):
    """Return a function that sets the results of the validations of a run."""
    monkeypatch.chdir(tmp_path)
    write_tiny_project()
    work = loop.validate

    def use(results):
        results = iter(results)

        def validate(session):
            evaluation = work(session)
            object.__setattr__(evaluation, "metrics", next(results))
            return evaluation

        monkeypatch.setattr(loop, "validate", validate)

    return use


@pytest.mark.parametrize(
    ("choice", "best", "value", "epochs"),
    [("default", 0, 0.35, 3), ("recall", 1, 0.75, 4), ("class:eel", 2, 0.47, 5)],
)
def test_best_pt_and_early_stopping_go_by_it(validations, choice, best, value, epochs):
    first = result(ap50=(0.35, 0.35), ap=(0.35, 0.35), r=(0.5, 0.5))
    second = result(ap50=(0.1, 0.2), ap=(0.1, 0.2), r=(0.8, 0.7))
    third = result(ap50=(0.2, 0.2), ap=(0.0, 0.5), r=(0.1, 0.1))  # eel (0.2 + 9 · 0.5) / 10 = 0.47; default 0.236
    worse = [result(ap50=(0.05, 0.05), ap=(0.05, 0.05), r=(0.1, 0.1))] * 9
    validations([first, second, third, *worse])

    run_dir = Path(train.run(**SETTINGS, epochs=9, patience=2, fitness=choice).save_dir)

    file = load_checkpoint(run_dir / "weights/best.pt")
    assert (file.epoch, file.facts["best_fitness"]) == (best, pytest.approx(value))
    assert len((run_dir / "results.csv").read_text().splitlines()) == 1 + epochs
    content = torch.load(run_dir / "weights/last.pt", weights_only=True)
    assert content["best_fitness"] == pytest.approx(value)


def test_a_class_that_is_not_there_stops_before_anything_is_written(validations):
    with pytest.raises(ConfigError, match="--fitness class:cow"):
        train.run(**SETTINGS, fitness="class:cow")
    assert not Path("runs").exists()
