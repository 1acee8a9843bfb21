"""Fill docs/models.md: every model YAML after one schedule on the embedded data set, its size, and its latency.

python -m tools.models_table [MODEL …]   # train what docs/models.csv has no mAP of, then write table and plot
python -m tools.models_table --latency   # measure the latencies, all of them anew; let nothing else run
"""

import csv
import logging
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from models.build import count_parameters
from models.scales import find_model_yaml, model_names
from models.summary import count_flops
from models.yolo import DetectionModel
from utils.benchmark.board import NOTHING
from utils.benchmark.latency import measure_latencies
from utils.benchmark.machine import machine_facts
from utils.benchmark.measure import accuracy, train_config
from utils.benchmark.tables import write_csv
from utils.configs.benchmark import OWN, BenchmarkConfig
from utils.plots.pareto import Candidate, plot_pareto
from utils.runs import ROOT, write_text
from utils.training.loop import train

log = logging.getLogger("models_table")

PAGE, RESULTS, PLOT = (ROOT / "docs" / name for name in ("models.md", "models.csv", "models.png"))
SCHEDULE = BenchmarkConfig(epochs=32, imgsz=128, batch_size=4, seed=0)
START, END = "<!-- written by tools/models_table.py -->", "<!-- end -->"
IMGSZ, WARMUP, RUNS = 640, 2, 10  # of the latencies
HEADINGS = ("model", "map50", "map", "latency_ms", "machine")
TITLES = "model | backbone | parameters | GFLOPs | fused: parameters | GFLOPs | latency (ms) | mAP50 | mAP50-95"
MACHINE = ("CPU", "PyTorch")  # what a latency depends on
FAMILIES = {"yolov5": "YOLOv5", "yolov8": "YOLOv8", "yolo11": "YOLO11"}  # how names start → whose backbone it is


def models() -> list[str]:
    """Return the names of the models of models/ by family, each with its own backbone first, then by size."""

    def place(name: str) -> tuple[int, str, int]:
        family, letter, rest = name[: len("yolov5")], name[len("yolov5")], name[len("yolov5n") :]
        return list(FAMILIES).index(family), rest, "nsmlx".index(letter)

    return sorted((name for name, path in model_names() if path.parent == ROOT / "models"), key=place)


def file_of(name: str) -> str:
    """Return what the table calls a model: its file, or its name where the file holds several sizes."""
    path, *_ = find_model_yaml(name)
    return f"models/{name}.yaml" if path.stem == name else name


def read_results() -> dict[str, dict[str, Any]]:
    """Return model → its row of docs/models.csv, empty where nothing was measured."""
    rows = {}
    if RESULTS.exists():
        with RESULTS.open(newline="", encoding="utf-8") as file:
            rows = {row["model"]: row for row in csv.DictReader(file)}
    return {name: rows.get(name, dict.fromkeys(HEADINGS, "") | {"model": name}) for name in models()}


def note(name: str, **figures: str) -> None:
    """Put figures of one model into docs/models.csv."""
    results = read_results()
    results[name] |= figures
    write_csv(RESULTS, HEADINGS, results.values())


def measure_accuracy(chosen: list[str]) -> None:
    """Train every model that has no mAP yet, and note each result as soon as it is known."""
    results = read_results()
    for name in [name for name in chosen if not results[name]["map"]]:
        log.info("\n%s", name)
        with tempfile.TemporaryDirectory() as folder:
            cfg = replace(SCHEDULE, cfg=name)
            figures = accuracy(train(train_config(cfg, OWN, Path(folder))))
        note(name, **{key: f"{value:.3f}" for key, value in figures.items()})


def measure_latency() -> None:
    """Time every model as it is deployed, on one image."""
    images = torch.rand(1, 3, IMGSZ, IMGSZ).to(memory_format=torch.channels_last)
    for name in models():
        model = DetectionModel(name).eval().fuse().to(memory_format=torch.channels_last)
        [latency] = measure_latencies([model], images, WARMUP, RUNS)
        note(name, latency_ms=f"{latency.p50_ms:.1f}", machine=machine())
        log.info("%s: %.1f ms", name, latency.p50_ms)


def machine() -> str:
    return "; ".join(f"{name} {fact}" for name, fact in machine_facts(torch.device("cpu")).items() if name in MACHINE)


def table() -> list[str]:
    """Return the lines of the table: sizes as they are counted now, the rest as it was measured."""
    lines = [f"| {TITLES} |", "|---|---" + "|--:" * 7 + "|"]
    for name, row in read_results().items():
        with torch.device("meta"):
            model = DetectionModel(name)
        backbone = f"`{model.rows[0].name}`" if model.backbone else FAMILIES[name[: len("yolov5")]]
        sizes = [*_sizes(model), *_sizes(model.fuse())]
        measured = [row[key] or NOTHING for key in ("latency_ms", "map50", "map")]
        lines.append(f"| {' | '.join([f'`{file_of(name)}`', backbone, *sizes, *measured])} |")
    return lines


def _sizes(model: DetectionModel) -> list[str]:
    return [f"{count_parameters(model):,}", f"{count_flops(model, IMGSZ) / 1e9:.1f}"]


def write_page() -> None:
    """Put the table into docs/models.md, and draw the plot."""
    before, rest = PAGE.read_text(encoding="utf-8").split(START)
    after = rest.partition(END)[2]
    write_text(PAGE, "\n".join([f"{before}{START}", *table(), f"{END}{after}"]))
    known = [row for row in read_results().values() if row["map"] and row["latency_ms"]]
    candidates = [Candidate(row["model"], float(row["latency_ms"]), float(row["map"])) for row in known]
    schedule = f"embedded data set, {SCHEDULE.epochs} epochs at {SCHEDULE.imgsz} px, seed {SCHEDULE.seed}"
    if candidates:
        plot_pareto(candidates, PLOT, [f"mAP: {schedule}; latency: {IMGSZ} px, {known[0]['machine']}"])


def main(arguments: list[str]) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments == ["--latency"]:
        measure_latency()
    elif set(arguments) <= set(models()):
        measure_accuracy(arguments or models())
    else:
        sys.exit(__doc__)
    write_page()


if __name__ == "__main__":
    main(sys.argv[1:])
