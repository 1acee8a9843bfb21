"""benchmark.py --reparam: two forms, batches that grow while memory lasts, one table."""

import csv
import dataclasses
import mmap
from pathlib import Path

import pytest
import torch
from tiny_detector import TINY
from torch import nn

from utils.benchmark import reparam
from utils.benchmark.latency import Latency
from utils.benchmark.reparam import measure_memory, measure_times, run_reparam
from utils.benchmark.reparam_table import FORMS, ReparamTable
from utils.benchmark.subprocess_run import IsolatedError
from utils.configs.benchmark import BenchmarkConfig
from utils.device import clear_memory
from utils.errors import ConfigError
from utils.training.peak import STATUS, Growth, PeakMemory
from utils.yaml_file import write_yaml

GB = 10**9


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    """Settings for a detector of 13 thousand parameters."""
    monkeypatch.chdir(tmp_path)
    write_yaml("tiny.yaml", TINY)
    return BenchmarkConfig(reparam=("own",), batches=(1, 2), cfg="tiny.yaml", imgsz=64, device="cpu", project="boards")


@pytest.fixture
def in_this_process(monkeypatch):
    """Measure here instead of in processes, one pass of each form."""
    monkeypatch.setattr(reparam, "isolated", lambda function, *args: function(*args))
    monkeypatch.setattr(reparam, "RUNS", (1, 1))


class Scripted:
    """Memory of a machine with 7 GB, of which the process has 1; a batch of n takes n GB more."""

    def __init__(self, device):
        self.device = device
        self.batch = 0

    def reset(self):
        self.batch = 0

    def peak(self):
        return (1 + self.batch) * GB

    def now(self):
        return GB

    def free(self):
        return 6 * GB


@pytest.fixture
def batches(monkeypatch):
    """Script the memory; list the batches that were run, of which those above 100 fail for want of memory."""
    ran, memory = [], Scripted(torch.device("cpu"))

    class Model(nn.Linear):
        def predict(self, images):
            ran.append(images)
            memory.batch = images
            if images > 100:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")

    monkeypatch.setattr(reparam, "PeakMemory", lambda device: memory)
    monkeypatch.setattr(reparam, "_deployable", lambda *args, fused: Model(250, 1, bias=False))  # 1000 bytes
    monkeypatch.setattr(reparam, "_images", lambda model, batch, device: batch)
    return ran, memory


def test_batches_grow_by_doubling_until_the_next_would_not_fit(cfg, batches):
    found = list(measure_memory(cfg, "own", "training", (2, 3, 8, 64)))

    assert batches[0] == [1, 2, 3, 4]  # 8 more GB, and a quarter to spare, are more than 6
    assert found[:2] == [(2, {"training_memory_gb": 2.000001}), (3, {"training_memory_gb": 3.000001})]
    ((_, last),) = found[2:]
    need = "8 images would need about 8.0 GB more, and 6.0 GB are free"
    assert last == {"remark": f"batch 8, 64 left out: in the training form {need}"}


def test_a_batch_that_finds_no_memory_ends_the_growth_too(cfg, batches, monkeypatch):
    monkeypatch.setattr(Scripted, "free", lambda self: None)  # a system that does not say

    *_, (_, last) = measure_memory(cfg, "own", "deployed", (1, 200))

    assert batches[0] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert last == {"remark": "batch 200 left out: in the deployed form memory ended at 128 images"}


def test_another_error_is_not_taken_for_want_of_memory(cfg, batches, monkeypatch):
    def broken(model, batch, device):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(reparam, "_images", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        list(measure_memory(cfg, "own", "training", (1,)))


def test_the_need_of_a_batch_lies_on_the_line_through_the_last_two():
    growth = Growth()
    assert growth.foretell(8) == 0
    for batch, peak in ((1, 500), (2, 150), (4, 250)):
        growth.add(batch, peak)

    assert growth.foretell(8) == 450
    assert growth.refusal(8, now=50, free=500) == ""
    assert growth.refusal(8, now=50, free=499) != ""


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux tells")
def test_memory_that_nothing_uses_any_more_is_not_counted_as_in_use():
    memory = PeakMemory(torch.device("cpu"))
    kept = []
    pieces = [torch.ones(10_000) for _ in range(2000)]  # 80 MB in the heap, of which every 20th piece stays
    kept += pieces[::20]
    before = memory.now()
    del pieces
    clear_memory(torch.device("cpu"))

    assert before - memory.now() > 50e6
    assert len(kept) == 100


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux forgets a peak")
def test_the_peak_is_that_of_the_step():
    memory = PeakMemory(torch.device("cpu"))
    memory.reset()
    before = memory.now()
    with mmap.mmap(-1, 100_000_000) as block:  # a tensor's memory may stay in the heap
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
    first = memory.peak() - before
    memory.reset()

    assert 75e6 < first < 300e6
    assert memory.peak() - before < first - 25e6


def test_latencies_are_those_of_the_training_form_and_of_the_fused_one(cfg, monkeypatch):
    seen = []

    def measure(models, images, warmup, runs):
        modules = [predict.__self__.modules() for predict in models]
        seen.append(([any(isinstance(m, nn.BatchNorm2d) for m in parts) for parts in modules], len(images)))
        return [Latency(4.0, 5.0), Latency(2.0, 3.0)]

    monkeypatch.setattr(reparam, "measure_latencies", measure)
    found = dict(measure_times(cfg, "own", (1, 3)))

    assert found[3] == {
        "training_p50_ms": 4.0,
        "training_p95_ms": 5.0,
        "deployed_p50_ms": 2.0,
        "deployed_p95_ms": 3.0,
    }
    assert set(map(str, seen)) == {"([True, False], 1)", "([True, False], 3)"}


def test_a_run_leaves_a_table_a_csv_and_a_picture(cfg, in_this_process):
    table = run_reparam(cfg)

    assert {path.name for path in table.folder.iterdir()} == {"reparam.md", "reparam.csv", "reparam.png"}
    with (table.folder / "reparam.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["backbone"], row["batch"]) for row in rows] == [("own", "1"), ("own", "2")]
    assert all(float(value) > 0 for row in rows for key, value in row.items() if key.endswith("ms"))
    assert not table.remarks


def test_figures_stand_in_the_table_with_their_units(tmp_path):
    table = ReparamTable(tmp_path, ["CPU: abacus"])
    times = {"training_p50_ms": 30.0, "training_p95_ms": 31.26, "deployed_p50_ms": 20.0, "deployed_p95_ms": 21.0}
    table.add("a", 4, times)
    table.add("a", 4, {"training_memory_gb": 0.5, "deployed_memory_gb": 0.25})
    table.add("a", 8, {"training_memory_gb": 1.204})
    table.remark("a: batch 8 left out")

    lines = table.markdown().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[4:6]]
    assert cells == [
        ["a", "4", "30.0 / 31.3", "20.0 / 21.0", "1.50×", "500 MB → 250 MB"],
        ["a", "8", "– / –", "– / –", "–", "1.20 GB → –"],
    ]
    assert lines[-1] == "* a: batch 8 left out"
    assert [curve.latency_ms for curve in table.curves()] == [{4: 7.5}, {4: 5.0}]


def test_a_process_that_dies_costs_its_batches_only(cfg, in_this_process, monkeypatch):
    def dies(cfg, backbone, form, batches):
        yield 1, {f"{form}_memory_gb": 1.0}
        raise IsolatedError("its process was ended by SIGKILL")

    monkeypatch.setattr(reparam, "measure_memory", dies)
    table = run_reparam(cfg)

    assert list(table.rows) == [("own", 1)]
    assert table.rows["own", 1].speed_up
    assert table.remarks == ["own: its process was ended by SIGKILL"] * 2


def test_nothing_measured_is_an_error(cfg, in_this_process, monkeypatch):
    def dies(cfg, backbone, form, batches):
        raise IsolatedError("out of luck")
        yield

    monkeypatch.setattr(reparam, "measure_memory", dies)
    with pytest.raises(ConfigError, match="nothing could be measured"):
        run_reparam(cfg)


@pytest.mark.parametrize("change", [{"reparam": ("repvg_a0",)}, {"cfg": "nowhere.yaml"}, {"batches": (0,)}])
def test_a_wrong_setting_ends_it_before_it_begins(cfg, in_this_process, change):
    with pytest.raises(ConfigError):
        run_reparam(dataclasses.replace(cfg, **change))

    assert not Path("boards").exists()


def test_names_of_the_users_own_files_are_text_in_both_tables(tmp_path):
    table = ReparamTable(tmp_path, ["CPU: abacus"])
    table.add("=1|2.py:net", 4, {f"{form}_{what}": 1.0 for form in FORMS for what in ("p50_ms", "p95_ms", "memory_gb")})
    table.save()

    assert r"| =1\|2.py:net " in (tmp_path / "reparam.md").read_text()
    assert (tmp_path / "reparam.csv").read_text().splitlines()[1].startswith("'=1|2.py:net,4")


@pytest.mark.parametrize("figures", [{"training_memory_gb": 0.5}, {"training_p50_ms": 2.0, "training_p95_ms": 3.0}])
def test_a_picture_is_drawn_of_what_was_measured_before_a_process_ended(tmp_path, figures):
    table = ReparamTable(tmp_path, ["CPU: abacus"])
    table.add("a", 1, figures)

    table.save()

    assert (tmp_path / "reparam.png").is_file()
