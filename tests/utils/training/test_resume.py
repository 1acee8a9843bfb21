"""A run that was stopped and taken up again ends as one that was not, to the last bit; what prevents that is said."""

import copy
import itertools
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from run_states import differing, read_run
from tiny_detector import TINY, write_tiny_project

import train
from utils.errors import CheckpointError, ConfigError
from utils.file_lock import unlock
from utils.runs import ROOT, lock_folder
from utils.training import epoch as epoch_module
from utils.training.run_state import RunState
from utils.yaml_file import read_yaml, write_yaml

EPOCHS, BATCHES = 3, 3
SETTINGS = {"cfg": "tiny.yaml", "data": "pets.yaml", "imgsz": 64, "epochs": EPOCHS, "batch_size": 1}
SETTINGS |= {"workers": 0, "device": "cpu", "plots": False, "report": False}
HEAD = [["nn.Upsample", ["None", 2, "nearest"]], ["Concat", [1]], ["Detect", ["nc", "anchors"]]]
DROPOUT = TINY | {
    "backbone": [*TINY["backbone"], [-1, 1, "nn.Dropout2d", [0.3]]],
    "head": [[source, 1, *row] for source, row in zip((-1, [-1, 3], [-1, 6]), HEAD, strict=True)],
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working folder: a tiny model that draws random numbers while it trains, three pictures, two recipes."""
    monkeypatch.chdir(tmp_path)
    write_project()
    return tmp_path


def write_project():
    write_tiny_project()
    write_yaml("tiny.yaml", DROPOUT)
    low = read_yaml(ROOT / "data/hyps/hyp.scratch-low.yaml")
    write_yaml("window.yaml", low | {"nominal_batch": 4, "warmup_epochs": 0})  # 4 batches to a step, 3 to an epoch


def run(**options):
    """Train anew, or resume; return the run folder."""
    return Path(train.run(**options if "resume" in options else SETTINGS | options).save_dir)


def stop_after(monkeypatch, batches, number=signal.SIGINT):
    """Send the process a signal during batch ``batches`` of its run."""
    work, count = RunState.next_batch, itertools.count(1)

    def next_batch(self, items):
        work(self, items)
        if next(count) == batches:
            signal.raise_signal(number)

    monkeypatch.setattr(RunState, "next_batch", next_batch)


def interrupted(monkeypatch, batches, **options):
    """Return the folder of a run that was stopped after so many batches, counted from its start or resumption."""
    with monkeypatch.context() as patch:
        stop_after(patch, batches)
        with pytest.raises(KeyboardInterrupt):
            run(**{"project": "stopped"} | options)
    return options.get("resume") or Path("stopped/exp")


CASES = {
    "warm-up unfinished": {},
    "steps across epochs": {"hyp": "window.yaml"},
    "anchor-free": {"hyp": "window.yaml", "head": "anchor-free"},
    "two workers": {"workers": 2},
    "other sizes, rare classes more often": {"multi_scale": True, "image_weights": True, "imgsz": 96},
    "frozen for two epochs": {"hyp": "window.yaml", "freeze": ["backbone"], "unfreeze_epoch": 2},
    "AdamW, frozen for an epoch": {"optimizer": "AdamW", "freeze": ["0", "1"], "unfreeze_epoch": 1},
    "layer-wise rates": {"hyp": "window.yaml", "layer_decay": 0.5, "clip_grad": 0.5},
    "AdamW, no validation": {"optimizer": "AdamW", "val": False, "cos_lr": True},
}


RARE = ("frozen for two epochs", "layer-wise rates", "AdamW, no validation")


@pytest.mark.parametrize(
    "options",
    [pytest.param(options, id=name, marks=pytest.mark.slow if name in RARE else ()) for name, options in CASES.items()],
)
def test_a_resumed_run_ends_as_one_that_was_never_stopped(project, monkeypatch, options):
    straight = run(**options, project="straight")

    resumed = interrupted(monkeypatch, 2, **options)  # amid an epoch
    interrupted(monkeypatch, 2 * BATCHES - 2, resume=resumed)  # at the end of one
    interrupted(monkeypatch, (EPOCHS - 2) * BATCHES, resume=resumed)  # at the end of all
    run(resume=resumed)

    assert differing(read_run(straight), read_run(resumed)) == []
    assert differing(read_run(straight, "best.pt"), read_run(resumed, "best.pt")) == []
    assert (straight / "results.csv").read_bytes() == (resumed / "results.csv").read_bytes()


@pytest.mark.parametrize(("batches", "epochs"), [(1, 1), pytest.param(BATCHES, 2, marks=pytest.mark.slow)])
def test_a_model_with_drop_path_resumes_exactly(project, monkeypatch, batches, epochs):
    options = {"cfg": str(ROOT / "models/yolov5n-emo.yaml"), "epochs": epochs}
    straight = run(**options, project="straight")

    resumed = run(resume=interrupted(monkeypatch, batches, **options))

    assert differing(read_run(straight), read_run(resumed)) == []


def test_each_part_of_the_saved_state_counts(project, monkeypatch):
    options = {"hyp": "window.yaml", "optimizer": "AdamW", "image_weights": True}
    straight = read_run(run(**options, project="straight"))
    stopped = interrupted(monkeypatch, 2 * BATCHES + 1, **options)
    last = stopped / "weights/last.pt"
    content = torch.load(last, weights_only=True)
    shutil.rmtree(stopped / "weights")

    unnoticed = []
    for part, spoil in SPOILERS.items():
        shutil.rmtree(stopped / "weights", ignore_errors=True)
        (stopped / "weights").mkdir()
        spoiled = copy.deepcopy(content)
        spoil(spoiled["training"]["resume"], spoiled)
        torch.save(spoiled, last)
        unnoticed += [] if differing(straight, read_run(run(resume=stopped))) else [part]

    assert unnoticed == ["nothing"]


SPOILERS = {
    "nothing": lambda state, root: None,
    "weights": lambda state, root: state["model"]["model.0.conv.weight"].mul_(1.001),
    "running statistics": lambda state, root: state["model"]["model.0.bn.running_mean"].add_(0.01),
    "average": lambda state, root: root["state"]["model.0.bn.running_mean"].mul_(1.001),
    "updates of the average": lambda state, root: state["stepper"].update(updates=0),
    "optimizer": lambda state, root: state["stepper"]["optimizer"]["state"][0]["exp_avg"].mul_(1.1),
    "steps of the optimizer": lambda state, root: state["stepper"]["optimizer"]["state"][0]["step"].add_(1),
    "gradients": lambda state, root: state["stepper"].update(gradients={}),
    "last step": lambda state, root: state["stepper"].update(last_step=6),
    "generator": lambda state, root: state["generators"][0].update(torch=torch.Generator().manual_seed(9).get_state()),
    "batch": lambda state, root: state.update(batch=0),
    "losses": lambda state, root: state["losses"].mul_(2),
    "table": lambda state, root: state["rows"].mul_(2),
    "maps": lambda state, root: state.update(maps=[0.9, 0.1, 0.0]),
    "early stopping": lambda state, root: state["stopper"].update(best_fitness=0.9),
}


def add_image():
    shutil.copy("images/0.png", "images/new.png")


def rename_image():
    Path("images/0.png").rename("images/9.png")
    Path("labels/0.txt").rename("labels/9.txt")


CHANGES = {
    "an image more": (add_image, ["train: 4 images, there were 3", "val: 4 images, there were 3"]),
    "another file": (rename_image, ["train: changed: its images are other files", "val: changed: its images"]),
    "another label": (
        lambda: Path("labels/0.txt").write_text("1 0.5 0.5 0.4 0.4\n"),
        ["train: changed: its labels", "val: changed: its labels"],
    ),
    "another name": (
        lambda: write_yaml("pets.yaml", read_yaml("pets.yaml") | {"names": ["cat", "dog", "emu"]}),
        ["class 2 is 'emu', it was 'eel'"],
    ),
    "a class more": (
        lambda: write_yaml("pets.yaml", read_yaml("pets.yaml") | {"names": ["cat", "dog", "eel", "emu"]}),
        ["4 classes, there were 3"],
    ),
}


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES.keys())
def test_other_data_are_refused_and_each_difference_is_named(project, change, expected):
    run_dir = run(epochs=1)
    before = {path: path.read_bytes() for path in run_dir.rglob("*.pt")}
    change()

    with pytest.raises(ConfigError, match="the data have changed") as error:
        run(resume=run_dir, epochs=2)

    assert [line for line in expected if line not in error.value.what] == []
    assert len(error.value.what.splitlines()) == 1 + len(expected)
    assert f"--weights {run_dir}/weights/last.pt" in error.value.fix
    assert {path: path.read_bytes() for path in run_dir.rglob("*.pt")} == before


def test_options_that_belong_to_the_run_are_refused_all_at_once(project):
    run_dir = run(epochs=1)

    with pytest.raises(ConfigError, match="options belong to the run") as error:
        run(resume=run_dir, imgsz=96, optimizer="Adam", freeze=["0"], batch_size=1, epochs=2, workers=1)

    assert error.value.what.splitlines()[1:] == [
        "  --freeze 0, it was not given",
        "  --imgsz 96, it was 64",
        "  --optimizer Adam, it was SGD",
    ]


def test_a_run_is_found_by_folder_by_file_and_as_the_newest(project, caplog):
    first, second = run(epochs=1, name="first"), run(epochs=1, name="second")
    os.utime(first / "weights/last.pt", (2e9, 2e9))  # a clock that was wrong

    assert run(resume=True) == second
    assert (
        run(resume="runs/train/first")
        == run(resume=first / "weights")
        == run(resume=first / "weights/last.pt")
        == first
    )
    with pytest.raises(CheckpointError, match="holds weights, but no state of a run"):
        run(resume=first / "weights/best.pt")
    shutil.copy(first / "weights/last.pt", "mine.pt")
    with pytest.raises(ConfigError, match="not in the folder 'weights' of a run"):
        run(resume="mine.pt")
    with pytest.raises(ConfigError, match="nowhere: does not exist"):
        run(resume="nowhere")


def test_without_any_run_it_says_where_it_looked(project):
    with pytest.raises(ConfigError, match=f"there is no {project}/runs/train"):
        run(resume=True)


def test_a_run_folder_that_was_moved_goes_on_where_it_is(both, monkeypatch):
    monkeypatch.chdir(both)
    straight = read_run(Path("straight/exp"))
    stopped = Path("stopped/exp")
    moved = both / "elsewhere/mine"
    moved.parent.mkdir()
    shutil.copytree(stopped, moved)
    stopped = stopped.absolute()
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    monkeypatch.chdir(moved.parent)  # so that pets.yaml is not in the current folder either

    assert run(resume=moved) == moved

    assert differing(straight, read_run(moved), where="") == [".training.opt.data"]
    assert {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()} == before


def test_more_epochs_extend_a_finished_run(project, caplog):
    caplog.set_level("INFO")
    run_dir = run(epochs=2)
    table = (run_dir / "results.csv").read_text()

    assert run(resume=run_dir) == run_dir
    assert "all epochs are trained" in caplog.text
    assert (run_dir / "results.csv").read_text() == table
    run(resume=run_dir, epochs=3)

    rows = (run_dir / "results.csv").read_text()
    assert rows.startswith(table) and len(rows.splitlines()) == 4
    assert read_yaml(run_dir / "opt.yaml")["epochs"] == 3
    assert read_run(run_dir)["epoch"] == 2


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A working folder with a whole run, and the folder of one that was stopped early in its third epoch."""
    folder = tmp_path_factory.mktemp("both")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_project()
        run(project="straight")
        interrupted(patch, 2 * BATCHES + 1)
    return folder


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_damaged_file_is_replaced_by_the_one_before(both, monkeypatch, caplog, damage):
    monkeypatch.chdir(both)
    straight = read_run(Path("straight/exp"))
    stopped = shutil.copytree("stopped/exp", damage)
    last = Path(stopped, "weights/last.pt")
    content = bytearray(last.read_bytes())
    if damage == "truncated":
        last.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        weights = torch.load(last, weights_only=True)["state"]["model.0.bn.running_mean"]
        content[content.index(weights.numpy().tobytes())] ^= 1
        last.write_bytes(content)
    else:
        last.unlink()

    run(resume=stopped)

    assert "going on from the state before it, last.prev.pt" in caplog.text
    assert differing(straight, read_run(Path(stopped))) == []
    assert (last.parent / "last.damaged.pt").exists() == (damage != "missing")


def test_where_both_files_are_damaged_nothing_is_written(project):
    run_dir = run(epochs=1)
    for name in ("last.pt", "last.prev.pt"):
        (run_dir / "weights" / name).write_bytes(b"nothing")
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}

    with pytest.raises(CheckpointError, match=r"last\.pt: not "):
        run(resume=run_dir)

    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_a_folder_that_is_in_use_is_left_alone(project):
    run_dir = run(epochs=1)
    lock = lock_folder(run_dir)  # another process; the lock belongs to the opened file
    before = (run_dir / "weights/last.pt").read_bytes()
    try:
        for options in ({"resume": run_dir, "epochs": 2}, {"exist_ok": True}):
            with pytest.raises(ConfigError, match=f"in use by process {os.getpid()}"):
                run(**options)
    finally:
        unlock(lock)

    assert (run_dir / "weights/last.pt").read_bytes() == before
    assert run(resume=run_dir, epochs=2) == run_dir


def test_another_number_of_threads_is_said_and_the_run_goes_on(project, monkeypatch, caplog):
    stopped = interrupted(monkeypatch, 4)
    monkeypatch.setattr(torch, "__version__", "1.0")

    run(resume=stopped)

    assert f"not to the same last digit: PyTorch 1.0, it was {torch.torch_version.__version__}" in caplog.text


def test_an_early_stop_is_not_forgotten(project, caplog):
    caplog.set_level("INFO")
    write_yaml("still.yaml", read_yaml("window.yaml") | {"lr0": 0.0})
    run_dir = run(epochs=20, patience=2, hyp="still.yaml")
    rows = len((run_dir / "results.csv").read_text().splitlines())
    assert rows < 20

    run(resume=run_dir)
    assert "stopped by --patience 2" in caplog.text
    assert len((run_dir / "results.csv").read_text().splitlines()) == rows
    run(resume=run_dir, patience=3)
    assert len((run_dir / "results.csv").read_text().splitlines()) == rows + 1


def test_every_batch_can_be_saved(project, monkeypatch):
    places = []
    work = epoch_module.save_last
    monkeypatch.setattr(epoch_module, "save_last", lambda s: places.append((s.state.epoch, s.state.batch)) or work(s))

    run(epochs=2, save_steps=1)

    assert places == [(0, 1), (0, 2), (1, 1), (1, 2)]  # the last of an epoch is saved before its validation
