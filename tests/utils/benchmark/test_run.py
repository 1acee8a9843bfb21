"""The benchmark: rows survive interruptions, settings are never mixed, a crash costs one row, figures are right."""

import csv
import dataclasses
import os
import signal
from pathlib import Path

import pytest
import torch
from tiny_detector import TINY, write_tiny_project

from models.detector import DetectionModel
from utils.benchmark import latency
from utils.benchmark import run as benchmark
from utils.benchmark.latency import Latency, measure_latencies
from utils.benchmark.leaderboard import Row, open_leaderboard
from utils.benchmark.measure import RECIPE, FirstBatches, measure_backbone, train_config
from utils.benchmark.run import run_benchmark
from utils.benchmark.subprocess_run import IsolatedError, isolated
from utils.configs.benchmark import BenchmarkConfig
from utils.errors import ConfigError
from utils.yaml_file import read_yaml, write_yaml


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    """Settings of a small benchmark: a detector of 13 thousand parameters, three pictures in batches of two."""
    monkeypatch.chdir(tmp_path)
    write_tiny_project()
    return BenchmarkConfig(
        backbones=("a", "b"),
        cfg="tiny.yaml",
        data="pets.yaml",
        imgsz=64,
        epochs=1,
        batch_size=2,
        workers=0,
        device="cpu",
        project="boards",
    )


@pytest.fixture
def measured(monkeypatch):
    """Measure in this process, and list what was measured; backbones that are called bad… raise."""
    calls = []

    def measure(cfg, backbone, folder):
        calls.append(backbone)
        yield {"parameters": 2_000_000, "parameters_fused": 1_500_000}
        if backbone.startswith("bad"):
            raise IsolatedError("out of luck")
        yield {"map50": 0.5, "map": 0.25, "finished": True}

    monkeypatch.setattr(benchmark, "isolated", lambda function, *args: function(*args))
    return measure, calls


def test_a_failure_is_a_row_with_its_reason_and_the_others_go_on(cfg, measured):
    measure, calls = measured

    board = run_benchmark(dataclasses.replace(cfg, backbones=("a", "bad", "b", "a")), measure)

    assert calls == ["a", "bad", "b"]
    assert [row.backbone for row in board.ordered()] == ["a", "b", "bad"]
    assert board.rows["bad", ""] == Row("bad", parameters=2_000_000, parameters_fused=1_500_000, remark="out of luck")


def test_every_head_is_a_row_of_its_own(cfg, measured):
    measure, _ = measured
    heads = []

    def noting(one, backbone, folder):
        heads.append((backbone, one.heads))
        yield from measure(one, backbone, folder)

    board = run_benchmark(dataclasses.replace(cfg, backbones=("a", "b"), heads=("anchor", "anchor-free")), noting)
    run_benchmark(dataclasses.replace(cfg, backbones=("a",), heads=("anchor",)), noting)  # is there already

    assert heads == [(backbone, (head,)) for backbone in "ab" for head in ("anchor", "anchor-free")]
    assert "| head" in board.markdown()
    assert "anchor-free" in (board.folder / "leaderboard.csv").read_text()


def test_finished_rows_are_kept_and_failed_ones_measured_again(cfg, measured):
    measure, calls = measured
    run_benchmark(dataclasses.replace(cfg, backbones=("a", "bad")), measure)
    calls.clear()

    board = run_benchmark(dataclasses.replace(cfg, backbones=("a", "bad", "new")), measure)

    assert calls == ["bad", "new"]
    assert board.folder == Path("boards/exp").absolute()
    assert set(board.rows) == {("a", ""), ("bad", ""), ("new", "")}


@pytest.mark.parametrize("change", [{"imgsz": 96}, {"epochs": 2}, {"cfg": "other.yaml"}, {"hyp": "my.yaml"}])
def test_other_settings_go_into_another_folder(cfg, measured, change):
    measure, calls = measured
    write_yaml("other.yaml", TINY | {"nc": 5})
    Path("my.yaml").write_text("lr0: 0.1\n")
    run_benchmark(cfg, measure)

    other = run_benchmark(dataclasses.replace(cfg, **change), measure)
    again = run_benchmark(cfg, measure)

    assert (other.folder, again.folder) == (Path("boards/exp2").absolute(), Path("boards/exp").absolute())
    assert calls == ["a", "b", "a", "b"]


@pytest.mark.parametrize("file", ["tiny.yaml", "pets.yaml", "my.yaml"])
def test_another_content_of_a_file_is_another_setting(cfg, measured, file):
    measure, _ = measured
    cfg = dataclasses.replace(cfg, hyp="my.yaml")
    write_yaml("my.yaml", {"lr0": 0.1})
    first = run_benchmark(cfg, measure)
    write_yaml(file, read_yaml(file) | {"nc": 3, "lr0": 0.2})

    assert run_benchmark(cfg, measure).folder != first.folder


def test_rows_of_other_labels_do_not_stand_in_one_table(cfg, measured):
    measure, _ = measured
    first = run_benchmark(cfg, measure)
    label = next(Path("labels").glob("*.txt"))
    label.write_text("1 0.5 0.5 0.25 0.125\n")
    second = run_benchmark(cfg, measure)

    assert [first.folder.name, second.folder.name, run_benchmark(cfg, measure).folder.name] == ["exp", "exp2", "exp2"]


def test_a_backbone_in_a_file_is_measured_again_when_the_file_changes(cfg, measured):
    measure, calls = measured
    cfg = dataclasses.replace(cfg, backbones=("mine.py:net", "a"))
    for text in ("first", "first", "second"):
        Path("mine.py").write_text(text)
        run_benchmark(cfg, measure)

    assert calls == ["mine.py:net", "a", "mine.py:net"]


def test_nothing_measured_is_an_error(cfg, measured):
    with pytest.raises(ConfigError, match="no backbone could be measured"):
        run_benchmark(dataclasses.replace(cfg, backbones=("bad", "bad2")), measured[0])


@pytest.mark.parametrize("change", [{"epochs": -1}, {"cfg": "nowhere.yaml"}, {"data": "nowhere.yaml"}])
def test_a_wrong_setting_ends_the_benchmark_before_it_begins(cfg, measured, change):
    with pytest.raises(ConfigError):
        run_benchmark(dataclasses.replace(cfg, **change), measured[0])

    assert not measured[1]
    assert not Path("boards").exists()


def test_rows_are_ordered_by_map_then_by_latency(tmp_path):
    board = open_leaderboard(tmp_path, "exp", {}, [])
    for row in (
        Row("failed", remark="no"),
        Row("slow", fused_p50_ms=9.0),
        Row("fast", fused_p50_ms=3.0),
        Row("good", map=0.3, fused_p50_ms=20.0),
        Row("best", map=0.4, fused_p50_ms=30.0),
        Row("zero", map=0.0, fused_p50_ms=5.0),
    ):
        board.add(row)

    assert [row.backbone for row in board.ordered()] == ["best", "good", "zero", "fast", "slow", "failed"]


def test_the_tables_hold_the_figures_with_their_units(tmp_path):
    board = open_leaderboard(tmp_path, "exp", {"imgsz": 64}, ["CPU: abacus"])
    sizes = {"parameters": 2_345_678, "parameters_fused": 1_234_567, "gflops": 4.0, "gflops_fused": 3.5}
    times = {"unfused_p50_ms": 10.04, "unfused_p95_ms": 12.5, "fused_p50_ms": 8.0, "fused_p95_ms": 9.0}
    board.add(
        Row("a", map50=0.5, map=0.25, **sizes, **times, training_images_per_s=20.0, peak_memory_gb=1.5, finished=True)
    )
    board.add(Row("b", remark="this | that"))

    note, _, heading, _, first, second = (board.folder / "leaderboard.md").read_text().splitlines()
    cells = dict(zip(*([c.strip() for c in line.split(" | ")] for line in (heading, first)), strict=True))
    assert note.strip() == "CPU: abacus"
    assert cells["parameters, training / fused (M)"] == "2.35 / 1.23"
    assert cells["unfused p50 / p95 (ms)"] == "10.0 / 12.5"
    assert cells["ONNX p50 / p95 (ms)"] == "–"
    assert "this \\| that" in second
    with (board.folder / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["backbone"] for row in rows] == ["a", "b"]
    assert float(rows[0]["unfused_p50_ms"]) == 10.04
    assert rows[1]["map"] == ""


def test_a_damaged_result_file_is_left_alone(tmp_path):
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp/results.json").write_text("{")

    assert open_leaderboard(tmp_path, "exp", {}, []).folder == tmp_path / "exp2"


def test_items_come_from_another_process():
    assert list(isolated(range, 3)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("function", "argument", "message"),
    [
        (os._exit, 3, "its process ended with exit code 3"),
        (signal.raise_signal, signal.SIGKILL, "ended by SIGKILL; most likely the memory was used up"),
        (int, "seven", "ValueError: invalid literal for int() with base 10: 'seven'"),
        (read_yaml, "nowhere.yaml", "nowhere.yaml: no such file"),
    ],
)
def test_the_end_of_a_process_has_a_reason(function, argument, message):
    with pytest.raises(IsolatedError) as caught:
        list(isolated(function, argument))

    assert message in str(caught.value)


def test_models_are_timed_in_turns_after_the_warm_up(monkeypatch):
    clock, calls = [0.0], []
    monkeypatch.setattr(latency, "now", lambda device: clock[0])

    def model(name, milliseconds):
        def run(images):
            calls.append(name)
            clock[0] += next(milliseconds) / 1e3

        return run

    slow_start = iter([5000, 5000, *range(21)])  # the p50 and p95 of 0, 1, …, 20 are 10 and 19
    steady = iter([7000, 7000] + [4] * 21)

    found = measure_latencies([model("a", slow_start), model("b", steady)], torch.zeros(1), warmup=2, runs=21)

    assert calls == ["a", "a", "b", "b", *["a", "b"] * 21]
    assert [dataclasses.astuple(f) for f in found] == [pytest.approx((10, 19)), pytest.approx((4, 4))]
    assert isinstance(found[0], Latency)


def test_a_short_loader_is_gone_through_again():
    class Batch:
        def __init__(self, size):
            self.images = torch.zeros(size)

    batches = FirstBatches([Batch(2), Batch(1)], 5, torch.device("cpu"))

    assert len(list(batches)) == 5
    assert batches.images == [2, 1, 2, 1, 2]
    assert len(batches.marks) == 6


def test_a_backbone_is_measured_from_size_to_accuracy(cfg):
    def no_onnx(model, path, imgsz, device):
        raise ConfigError("no ONNX today")

    Path("board").mkdir()
    figures = {}
    for more in measure_backbone(cfg, "own", Path("board"), no_onnx):
        figures |= more

    model = DetectionModel(TINY)
    row = Row("own", **figures)
    assert row.parameters == sum(p.numel() for p in model.parameters())
    assert row.parameters_fused == sum(p.numel() for p in model.eval().fuse().parameters())
    assert 0 < row.fused_p50_ms <= row.fused_p95_ms
    assert row.training_images_per_s > 0
    assert 0 <= row.map <= row.map50 <= 1
    assert row.remark == "ONNX: no ONNX today"
    assert row.finished
    assert read_yaml("board/own/opt.yaml")["optimizer"] == RECIPE["optimizer"]
    assert read_yaml("board/own/hyp.yaml")["lr0"] == RECIPE["lr0"]


def test_without_epochs_there_is_no_training(cfg):
    Path("board").mkdir()
    figures = {}
    for more in measure_backbone(dataclasses.replace(cfg, epochs=0), "own", Path("board"), lambda *_: lambda images: 0):
        figures |= more

    assert figures["finished"]
    assert figures["onnx_p50_ms"] >= 0
    assert "map" not in figures
    assert not Path("board/own").exists()


@pytest.mark.parametrize(
    ("own", "hyp", "recipe"), [({}, "", RECIPE), ({}, "my.yaml", {}), ({"lr0": 0.1}, "", {"lr0": 0.1})]
)
def test_all_backbones_have_the_recipe_of_the_model_else_of_the_benchmark(cfg, own, hyp, recipe):
    write_yaml("tiny.yaml", TINY | {"recipe": own})

    training = train_config(dataclasses.replace(cfg, hyp=hyp), "repvgg_a0", Path())

    model = read_yaml(training.cfg)
    assert model["recipe"] == recipe
    assert model["backbone"][0][2] == "repvgg_a0"
    assert (training.hyp, training.epochs, training.imgsz) == (hyp, 1, 64)


def test_no_cell_of_the_leaderboard_is_markup_a_formula_or_two_lines(tmp_path):
    board = open_leaderboard(tmp_path, "exp", {}, ["note\x1b[2J"])

    board.add(Row("=my_net|.py:f", map50=0.5, map=0.25, fused_p50_ms=1.0, remark="<img src=x>\nfailed: $^$"))

    table = (tmp_path / "exp/leaderboard.md").read_text()
    assert r"| =my_net\|.py:f " in table
    assert r"| \<img src=x>\\nfailed: $^$ |" in table
    assert table.startswith("note\\x1b[2J  \n")
    with (tmp_path / "exp/leaderboard.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["backbone"], row["remark"]) == ("'=my_net|.py:f", r"<img src=x>\nfailed: $^$")
    assert open_leaderboard(tmp_path, "exp", {}, []).rows["=my_net|.py:f", ""].remark == "<img src=x>\nfailed: $^$"


def test_backbones_whose_names_look_alike_as_files_are_trained_in_folders_of_their_own(cfg, tmp_path):
    folders = [train_config(cfg, name, tmp_path).name for name in ("own", "timm/resnet18")]

    assert folders[0] == "own"
    assert folders[1].startswith("timm_resnet18-")
