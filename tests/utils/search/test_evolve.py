"""train.py --evolve and --seeds on three pictures: what they leave, how they are stopped and taken up again."""

import csv
import importlib.metadata
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from PIL import Image
from tiny_detector import write_tiny_project

import train
from utils.config import parse_config
from utils.configs.train import TrainConfig
from utils.errors import ConfigError, DivergedError
from utils.loggers.row import METRICS
from utils.losses import LOSSES
from utils.runs import ROOT
from utils.search import objective as objective_module
from utils.search import seeds as seeds_module
from utils.search.outputs import HISTORY_PICTURE, draw_pictures
from utils.search.seeds import statistics
from utils.search.space import GENES
from utils.search.study import finished, open_storage, open_study
from utils.search.which import kind_of
from utils.training.hyp import load_hyp
from utils.yaml_file import read_yaml

FLAGS = ("--cfg=tiny.yaml", "--data=pets.yaml", "--imgsz=32", "--epochs=1", "--batch=2", "--workers=0", "--device=cpu")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tiny_project()
    Path("one.yaml").write_text("hsv_h: [0, 0.1]")
    return tmp_path


@pytest.fixture
def fakes(monkeypatch):
    """Trainings that take no time: what each was given, and its fitness for each epoch, by the number of the trial."""
    calls, fitness = [], {}

    def fake(cfg, watch):
        calls.append(cfg)
        for epoch, value in enumerate(fitness.get(len(calls) - 1, [0.5])):
            if isinstance(value, BaseException):
                raise value
            watch(epoch, value, {"epoch": epoch, **dict.fromkeys(METRICS, value or 0.0), "val/box_loss": 0.1})

    monkeypatch.setattr(objective_module, "train", fake)
    return calls, fitness


ONE = ("--evolve-space", "one.yaml")  # one hyper-parameter, which is fast


def run(*flags):
    plots = () if "--plots" in flags else ("--noplots",)
    return train.main(parse_config(TrainConfig, [*FLAGS, *plots, *flags], prog="t"))


def table(path):
    with path.open(newline="") as file:
        return [{key.strip(): cell.strip() for key, cell in row.items()} for row in csv.DictReader(file)]


def study_of(folder):
    return open_study(open_storage(f"sqlite:///{folder}/study.db"), "search", seed=0, epochs=1)


def test_a_search_leaves_the_files_of_yolov5_and_a_hyp_that_train_takes(folder):
    run_dir = run("--evolve", "2")

    assert run_dir == folder / "runs/evolve/exp"
    rows = table(run_dir / "evolve.csv")
    hyp = load_hyp(run_dir / "hyp_evolve.yaml", LOSSES.get("Detect"))
    # spec of evolve.csv: four metrics, three losses of validation, then all keys of the hyper-parameters
    losses = ["val/box_loss", "val/obj_loss", "val/cls_loss"]
    assert list(rows[0]) == [*METRICS, *losses, *hyp, "fitness", "trial"]
    before = load_hyp(ROOT / "data/hyps/hyp.scratch-low.yaml", LOSSES.get("Detect"))
    assert {name: float(rows[0][name]) for name in GENES} == {name: before[name] for name in GENES}
    assert all(float(rows[1][name]) != before[name] for name in GENES)
    assert (run_dir / "hyp_evolve.yaml").read_text().startswith("# Hyper-parameters of the best of 2 trials")
    trained = read_yaml(run_dir / "trials/001/hyp.yaml")
    assert {name: float(rows[1][name]) for name in GENES} == {name: trained[name] for name in GENES}
    assert not list(run_dir.rglob("*.pt"))


def test_a_trial_trains_with_the_options_and_its_values(folder, fakes):
    run_dir = run("--evolve", "2", "--seed", "3", "--fitness", "map50", "--optimizer", "AdamW", *ONE)

    for cfg, number in zip(fakes[0], ("000", "001"), strict=True):
        assert cfg.hyp == str(run_dir / "trials" / number / "hyp.yaml")
        assert (cfg.seed, cfg.fitness, cfg.optimizer, cfg.epochs, cfg.evolve) == (3, "map50", "AdamW", 1, None)
        assert not (cfg.plots or cfg.save or cfg.recipe)


def test_a_search_in_which_nothing_was_found_says_so(folder, fakes, caplog):
    fakes[1][0] = [0.0]
    run("--evolve", "1", *ONE)

    assert "every trial has fitness 0" in caplog.text


def test_the_answer_is_the_best_epoch_and_the_best_trial_is_written(folder, fakes):
    fakes[1].update({0: [0.1, None, 0.4, 0.2], 1: [0.7, 0.3]})
    run_dir = run("--evolve", "2", *ONE)

    assert [(row["fitness"], row["metrics/precision"]) for row in table(run_dir / "evolve.csv")] == [
        ("0.4", "0.4"),
        ("0.7", "0.7"),
    ]
    assert read_yaml(run_dir / "hyp_evolve.yaml") == read_yaml(run_dir / "trials/001/hyp.yaml")


def test_the_command_at_the_end_trains_with_all_that_was_searched_with(folder, fakes, caplog):
    caplog.set_level("INFO")
    run_dir = run("--evolve", "1", "--cos-lr", *ONE)

    command = shlex.split(next(line for line in caplog.messages if "train with the best" in line).split(": ")[1])
    cfg = parse_config(TrainConfig, command[2:], prog="t")
    searched = fakes[0][0]
    assert (cfg.data, cfg.cfg, cfg.imgsz, cfg.cos_lr) == (searched.data, searched.cfg, searched.imgsz, True)
    assert (cfg.hyp, cfg.project, cfg.evolve) == (str(run_dir / "hyp_evolve.yaml"), "runs/train", None)


def test_trainings_that_fail_are_noted_and_the_search_goes_on(folder, fakes):
    fakes[1][0] = [DivergedError("a loss is not finite")]
    fakes[1][1] = [torch.OutOfMemoryError("CUDA out of memory")]
    fakes[1][2] = [RuntimeError("DefaultCPUAllocator: can't allocate memory")]
    run_dir = run("--evolve", "1", *ONE)

    *failed, whole = study_of(run_dir).trials
    assert [trial.state.name for trial in failed] == ["FAIL"] * 3 and whole.state.name == "COMPLETE"
    reasons = [trial.user_attrs["failure"] for trial in failed]
    assert reasons[0] == "a loss is not finite" and all(
        reason.startswith("too little memory") for reason in reasons[1:]
    )


def test_any_other_error_ends_the_search(folder, fakes):
    fakes[1][0] = [RuntimeError("a bug")]

    with pytest.raises(RuntimeError, match="a bug"):
        run("--evolve", "1", *ONE)


def test_a_search_that_was_stopped_says_how_it_goes_on_and_does(folder, fakes, caplog):
    fakes[1][1] = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        run("--evolve", "2", *ONE)
    run_dir = folder / "runs/evolve/exp"
    assert f"1 of 2 trials are done; to go on: python train.py --resume {run_dir}" in caplog.text

    train.main(parse_config(TrainConfig, ["--resume", str(run_dir)], prog="t"))
    train.main(parse_config(TrainConfig, ["--evolve", "3", "--resume"], prog="t"))

    values = [trial.params["hsv_h"] for trial in study_of(run_dir).trials]
    assert values[1] == values[2] and len(table(run_dir / "evolve.csv")) == 3


def test_a_search_keeps_what_its_trials_are_compared_by(folder, fakes):
    run_dir = run("--evolve", "1", *ONE)
    others = ["--resume", str(run_dir), "--evolve", "2"]

    for flags in (["--epochs", "2"], ["--seed", "1"], ["--fitness", "map"]):
        with pytest.raises(ConfigError, match=f"other options than are given now: {flags[0]}"):
            train.main(parse_config(TrainConfig, [*others, *flags], prog="t"))
    with pytest.raises(ConfigError, match="a search keeps its space"):
        train.main(parse_config(TrainConfig, [*others, "--evolve-space", "x.yaml"], prog="t"))
    train.main(parse_config(TrainConfig, [*others, "--workers", "1"], prog="t"))
    assert fakes[0][-1].workers == 1


def test_two_folders_work_on_one_study_of_a_database(folder, fakes, caplog):
    caplog.set_level("INFO")
    shared = ["--storage", f"sqlite:///{folder}/shared.db", "--study", "pets", *ONE]
    run("--evolve", "1", *shared)
    second = run("--evolve", "2", *shared)

    assert [len(table(folder / f"runs/evolve/{name}/evolve.csv")) for name in ("exp", "exp2")] == [1, 2]
    assert (
        f"works on it too with: python train.py --resume {second} --storage sqlite:///{folder}/shared.db" in caplog.text
    )
    with pytest.raises(ConfigError, match="compares other trainings: optimizer differ"):
        run("--evolve", "3", "--optimizer", "AdamW", *shared)
    with pytest.raises(ConfigError, match="its study 'pets' is in the database"):
        train.main(parse_config(TrainConfig, ["--resume", str(second)], prog="t"))


def test_a_start_that_fails_leaves_nothing(folder):
    for flags in (["--evolve-space", "none.yaml"], ["--fitness", "class:cow"], ["--hyp", "none.yaml"]):
        with pytest.raises(ConfigError):
            run("--evolve", "1", *flags)
    with pytest.raises(ConfigError):
        run("--seeds", "2", "--hyp", "none.yaml")

    assert not list(folder.glob("runs/*/*"))


def test_pictures_are_drawn_of_one_trial_and_all_kinds_of_ranges(folder, fakes):
    (folder / "space.yaml").write_text("lr0: [1e-4, 0.1, log]\nclose_mosaic: [0, 20, int]\nmixup:\n")
    run_dir = run("--evolve", "1", "--evolve-space", "space.yaml", "--plots")

    assert all(Image.open(run_dir / name).size[0] > 300 for name in ("evolve.png", HISTORY_PICTURE))


def test_no_pictures_before_a_trial_is_finished(folder):
    draw_pictures(optuna.create_study(), GENES, folder)

    assert not (folder / "evolve.png").exists() and finished(optuna.create_study()) == []


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        ("--evolve --seeds 2", "searches with one seed"),
        ("--evolve --dry-run", "tells of one training"),
        ("--seeds 2 --print-config", "tells of one training"),
        ("--evolve --device 0,1", "a training of a search has one device"),
        ("--storage sqlite:///x.db", "--storage belongs to a search"),
        ("--seeds 2 --evolve-space x.yaml", "--evolve-space belongs to a search"),
        ("--evolve --study x", "--study names a search in a database"),
        ("--evolve --storage sqlite:///x.db", "a database holds several searches"),
        ("--evolve --resume", "nothing to go on with"),
        ("--seeds 2 --resume images", "holds no seeds.yaml"),
        ("--evolve --resume images", "holds no evolve.yaml"),
    ],
)
def test_options_that_do_not_go_together_are_refused(folder, flags, what):
    with pytest.raises(ConfigError, match=what) as error:
        train.main(parse_config(TrainConfig, flags.split(), prog="t"))

    assert error.value.fix


def test_several_processes_of_torchrun_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")

    with pytest.raises(ConfigError, match="torchrun has started 2 processes"):
        kind_of(TrainConfig(seeds=2))


def test_without_evolve_and_seeds_nothing_is_different():
    assert kind_of(TrainConfig()) == kind_of(TrainConfig(resume="")) == kind_of(TrainConfig(resume="runs")) == ""


def test_an_old_optuna_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "4.9.1")

    with pytest.raises(ConfigError, match=r"needs optuna 5 or later, and 4\.9\.1") as error:
        kind_of(TrainConfig(evolve=1))
    assert "pip install" in error.value.fix


def test_without_optuna_one_sentence_comes_before_torch_is_imported(tmp_path):
    code = (
        "import importlib.metadata as m, runpy, sys\n"
        "def absent(name): raise m.PackageNotFoundError(name)\n"
        "m.version = absent\n"
        "sys.argv = ['train.py', '--evolve', '2']\n"
        "try: runpy.run_path('train.py', run_name='__main__')\n"
        "finally: assert 'torch' not in sys.modules and 'optuna' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 2
    assert done.stderr == (
        'error: --evolve needs the package optuna, which is not installed\nfix: pip install "optuna>=5"\n'
    )


def test_mean_and_deviation_are_those_of_a_sample():
    rows = {seed: dict.fromkeys(METRICS, value) for seed, value in enumerate((0.1, 0.2, 0.6))}

    # mean 0.3; squares 0.04 + 0.01 + 0.09 = 0.14; 0.14 / 2 = 0.07
    for mean, spread in statistics(rows).values():
        assert mean == pytest.approx(0.3) and spread == pytest.approx(np.sqrt(0.07))


def test_seeds_are_trained_one_after_the_other_and_told_together(folder, caplog):
    run_dir = run("--seeds", "2", "--seed", "5")

    assert [read_yaml(run_dir / f"seed{seed}/opt.yaml")["seed"] for seed in (5, 6)] == [5, 6]
    rows = table(run_dir / "seeds.csv")
    assert [row["seed"] for row in rows] == ["5", "6", "mean", "std"]
    for name in METRICS:
        results = [float(table(run_dir / f"seed{seed}/results.csv")[0][name]) for seed in (5, 6)]
        assert [float(row[name]) for row in rows[:2]] == results
    assert "mAP50-95\n     5" in caplog.text and "±" in caplog.text


@pytest.fixture
def fake_seeds(monkeypatch):
    """Trainings that take no time: the options of each, and errors that some raise, by their number."""
    calls, errors = [], {}

    def fake(cfg):
        calls.append(cfg)
        if len(calls) - 1 in errors:
            raise errors[len(calls) - 1]
        return cfg.seed

    monkeypatch.setattr(seeds_module, "train", fake)
    monkeypatch.setattr(seeds_module, "best_figures", lambda seed: dict.fromkeys(METRICS, 0.1 * (seed or 0)))
    return calls, errors


def test_seeds_that_were_stopped_go_on_where_they_were(folder, fake_seeds, caplog):
    calls, errors = fake_seeds
    errors[1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run("--seeds", "3")
    run_dir = folder / "runs/train/exp"
    assert f"1 of 3 seeds are finished; to go on: python train.py --resume {run_dir}" in caplog.text
    weights = run_dir / "seed1/weights"
    weights.mkdir(parents=True)
    (weights / "last.pt").touch()

    train.main(parse_config(TrainConfig, ["--resume", str(run_dir)], prog="t"))
    train.main(parse_config(TrainConfig, ["--resume", str(run_dir), "--seeds", "4"], prog="t"))

    assert [(cfg.seed, cfg.resume) for cfg in calls] == [
        *((0, None), (1, None)),
        *((0, str(run_dir / "seed1")), (2, None)),  # a run that goes on has its own options
        (3, None),
    ]
    assert [row["seed"] for row in table(run_dir / "seeds.csv")] == ["0", "1", "2", "3", "mean", "std"]


@pytest.mark.parametrize("error", [DivergedError("a loss is not finite"), SystemExit(4)])
def test_a_seed_that_diverges_is_left_out_and_said(folder, fake_seeds, caplog, error):
    fake_seeds[1][0] = error
    run_dir = run("--seeds", "3")

    assert [row["seed"] for row in table(run_dir / "seeds.csv")] == ["1", "2", "mean", "std"]
    assert "without 1 seed that diverged" in caplog.text


def test_seeds_on_several_devices_are_launched_one_by_one(folder, monkeypatch):
    launched = []

    def launch(cfg):
        launched.append(cfg)
        return cfg.seed

    monkeypatch.setattr("utils.training.loop.launch", launch)
    monkeypatch.setattr(seeds_module, "best_figures", lambda seed: dict.fromkeys(METRICS, 0.5))
    run("--seeds", "2", "--device", "0,1")

    assert [(cfg.seed, cfg.name, cfg.seeds) for cfg in launched] == [(0, "seed0", None), (1, "seed1", None)]
